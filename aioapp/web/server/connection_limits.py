"""All callers' connections to one process: how many there may be, how many from one place, and for how long."""
import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from aiohttp import web

from aioapp.errors import AppError, LimitReached, TooManyConnections
from aioapp.web.peer import network_of
from aioapp.web.proxies import Proxies
from aioapp.web.bounds import MOST_UNSENT, TOLD, Bounds
from aioapp.web.server.connection import Connection

LOOK = 1.0
"""Seconds from one look at all connections to the next."""
RETRY_AFTER = 1

log = logging.getLogger("aioapp.server")


class Connections:
    """What a site asks for a connection to each caller, in the place of aiohttp's `Server`.

    `keyless` says whether callers cannot be told apart but by where they are; `clock` is in seconds and never goes
    back; `options` are aiohttp's for each connection; `proxies` bring the connections of many callers.
    """

    def __init__(self, server: web.Server, *, bounds: Bounds, keyless: Callable[[], bool], options: Mapping[str, Any],
                 clock: Callable[[], float], proxies: Proxies) -> None:
        self._server = server
        self._proxies = proxies
        self._bounds = bounds
        self._keyless = keyless
        self._options = options
        self._clock = clock
        self._open: dict[Connection, str] = {}
        self._from: Counter[str] = Counter()
        self._told: set[Connection] = set()
        self._refused = 0
        self._retiring = False
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> Connection:
        return Connection(self._server, enter=self.enter, leave=self.leave, deadlines=self._bounds.deadlines,
                          clock=self._clock, **self._options)

    @property
    def open(self) -> int:
        """How many there are, but for those that are refused."""
        return len(self._open)

    @property
    def requests_count(self) -> int:
        """How many requests there were, which gunicorn's worker asks."""
        return self._server.requests_count

    def enter(self, connection: Connection, transport: asyncio.BaseTransport) -> AppError | None:
        """Count it in. Gives why it must be refused, if it must be."""
        place = place_of(transport.get_extra_info("peername"), proxies=self._proxies)
        error = self._refusal(place)
        if error is None:
            hold_little(cast(asyncio.WriteTransport, transport))  # uvloop's is none by its class
            self._open[connection] = place
            self._from[place] += 1
            connection.retiring = self._retiring
            return None
        self._refused += 1
        if len(self._told) >= TOLD:
            cast(asyncio.Transport, transport).abort()
        self._told.add(connection)
        return error

    def leave(self, connection: Connection) -> None:
        self._told.discard(connection)
        place = self._open.pop(connection, None)
        if place is not None:
            self._from[place] -= 1
            if not self._from[place]:
                del self._from[place]

    def start(self) -> None:
        """Look after the connections, from now on."""
        self._timer = asyncio.get_running_loop().call_later(self._pause(), self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def retire(self) -> None:
        """Let each connection end with its next answer: others are made elsewhere."""
        self._retiring = True
        for connection in self._open:
            connection.retiring = True

    def sweep(self) -> None:
        """Hold all connections to their deadlines; one line in the log says what callers failed to do."""
        now, failed = self._clock(), Counter[str]()
        for connection in [*self._open, *self._told]:
            try:
                failing = connection.check(now)
            except Exception as error:  # whatever it is: one connection must not cost the others their look
                log.error("A connection cannot be looked after, and is closed.", exc_info=error)
                connection.force_close()
                continue
            if failing:
                failed[failing] += 1
        for failing, count in failed.items():
            log.info("%d connections are closed: their callers did not %s in time.", count, failing)
        if self._refused:
            log.warning("%d connections were refused: %d are open.", self._refused, len(self._open))
            self._refused = 0

    def _look(self) -> None:
        self.start()
        self.sweep()

    def _pause(self) -> float:
        times = self._bounds.deadlines
        return min(LOOK, min(times.first_byte, times.head, times.body, times.idle, times.stall) / 2)

    def _refusal(self, place: str) -> AppError | None:
        most = self._bounds.connections
        if len(self._open) >= most:
            return TooManyConnections(f"{most} are open, which is the most here.", retry_after=RETRY_AFTER)
        if place and self._from[place] >= self._bounds.share and self._keyless():
            return LimitReached(f"{self._bounds.share} connections from one address are the most here.",
                                refused="connections", retry_after=RETRY_AFTER)
        return None


def place_of(peer: object, *, proxies: Proxies) -> str:
    """Where the caller is, empty where that cannot be told: behind a proxy, or at the end of a Unix socket."""
    return network_of(peer[0]) if isinstance(peer, tuple) and not proxies.trusts(peer[0]) else ""


def hold_little(transport: asyncio.WriteTransport) -> None:
    """Hold little of what the caller does not take: here, and in the kernel, which would take megabytes of it, and show
    only once in a megabyte that a caller reads slowly."""
    transport.set_write_buffer_limits(high=MOST_UNSENT)
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(AttributeError):  # Windows has no such option
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)
