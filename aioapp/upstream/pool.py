"""Connections to Claude that are kept: a new one costs a TLS handshake."""
import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from yarl import URL

import aioapp
from aioapp.upstream.client_connection import ClientConnection
from aioapp.upstream.transport import NotConnected, Response

KEEP_IDLE = 60.0
"""Seconds that an idle connection is kept."""
READ_AT_ONCE = 2**15
"""Bytes that are read at once, from whichever connection."""
HAPPY_EYEBALLS = 0.25
"""Seconds after which another address is tried beside one that does not answer (RFC 8305 §5)."""


OWN = {"User-Agent": f"aioapp/{aioapp.__version__}", "Accept": "*/*"}
"""Headers of our own, where nobody else's take their place."""


class Pool:
    """A `Transport` to what is below `url`, with at most so many `connections` at once; more calls wait, in their
    order, for one.

    `timeout` bounds the seconds that it takes to connect: to find the address, to reach it, and to greet.
    """

    def __init__(self, url: str, *, connections: int, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        self._url = URL(url)
        self._most = connections
        self._timeout = timeout
        self._tls = tls if tls is not None else default_tls() if self._url.scheme == "https" else None
        self._prefix = self._url.raw_path.rstrip("/")
        self._host = f"Host: {self._url.host_port_subcomponent}\r\nAccept-Encoding: identity\r\n".encode()
        self._buffer = memoryview(bytearray(READ_AT_ONCE))
        self._open: set[ClientConnection] = set()
        self._idle: list[ClientConnection] = []
        self._taken = 0
        self._waiters: deque[asyncio.Future[ClientConnection | None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None

    async def request(
            self, method: str, target: str, *, headers: Mapping[str, str], body: bytes = b"", silence: float | None,
    ) -> Response:
        line = f"{method} {self._prefix}{target} HTTP/1.1\r\n".encode("ascii")
        length = b"Content-Length: %d\r\n" % len(body) if body or method == "POST" else b""
        request = b"%b%b%b%b\r\n%b" % (line, self._host, lines({**OWN, **headers}), length, body)
        connection = await self._take()
        try:
            return await connection.exchange(request, silence=silence)
        except BaseException:
            connection.abort()
            raise

    async def close(self) -> None:
        """Close what is open, and wait until it is."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.abort()
        while self._open:
            await asyncio.sleep(0)

    async def _take(self) -> ClientConnection:
        """A connection that is open, as far as is known: the one that was used last, else a new one."""
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    return connection
            if self._taken < self._most:
                self._taken += 1
                break
            given = await self._turn()
            if given is None:
                break
            if given.usable:  # else it was lost on its way here, and its place is given to whoever asks next
                return given
        try:
            return await self._connect()
        except BaseException:
            self._give_place()
            raise

    async def _turn(self) -> ClientConnection | None:
        """Wait for a connection, or for the place of one. Whoever stops waiting hands on what it has got."""
        turn: asyncio.Future[ClientConnection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiters.remove(turn)
            if turn.done() and not turn.cancelled():
                connection = turn.result()
                if connection is None or not connection.usable:
                    self._give_place()
                else:
                    self._freed(connection)
            raise

    async def _connect(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        # uvloop knows no `happy_eyeballs_delay`.
        eyeballs: dict[str, Any] = {}
        if not type(loop).__module__.startswith("uvloop"):
            eyeballs["happy_eyeballs_delay"] = HAPPY_EYEBALLS
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await loop.create_connection(
                    lambda: ClientConnection(self._buffer, freed=self._freed, lost=self._lost),
                    str(self._url.raw_host), int(self._url.port or 0), ssl=self._tls, **eyeballs)
        except (OSError, TimeoutError) as error:
            raise NotConnected() from error
        self._open.add(connection)
        return connection

    def _freed(self, connection: ClientConnection) -> None:
        for turn in self._next():
            turn.set_result(connection)
            return
        loop = asyncio.get_running_loop()
        connection.freed_at = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(KEEP_IDLE, self._close_old)

    def _lost(self, connection: ClientConnection) -> None:
        if connection not in self._open:  # it never came to be
            return
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._give_place()

    def _give_place(self) -> None:
        """A connection is no more: the next who waits may make one in its place."""
        for turn in self._next():
            turn.set_result(None)
            return
        self._taken -= 1

    def _next(self) -> list[asyncio.Future[ClientConnection | None]]:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                return [turn]
        return []

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = None
        for connection in [one for one in self._idle if loop.time() - one.freed_at >= KEEP_IDLE]:
            connection.abort()
        if self._idle:
            self._sweep = loop.call_later(KEEP_IDLE / 4, self._close_old)


def default_tls() -> ssl.SSLContext:
    """As Python has it: `SSL_CERT_FILE` and `SSL_CERT_DIR` name other authorities than the system's."""
    made = ssl.create_default_context()
    made.set_alpn_protocols(["http/1.1"])
    return made


def lines(headers: Mapping[str, str]) -> bytes:
    """The headers as they are sent. Raises `ValueError` for one that would begin another."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not text.count("\r") == text.count("\n") == len(headers) or "\0" in text:
        raise ValueError("A header holds a line break.")
    return text.encode("utf-8", "surrogateescape")  # what a caller sends may be bytes of any kind
