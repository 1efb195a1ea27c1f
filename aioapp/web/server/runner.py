"""Runs an application as a server whose connections are bounded, under `python -m aioapp` as under gunicorn."""
import time
from collections.abc import Callable
from functools import partial
from logging import Logger
from typing import Any

from aiohttp import web

from aioapp.web.context import REFUSED, SERVICES
from aioapp.web.bounds import LARGEST_LINE, Bounds
from aioapp.web.proxies import PROXIES, Proxies
from aioapp.web.server.connection import Connection
from aioapp.web.server.connection_limits import Connections


class Runner(web.AppRunner):
    """aiohttp's runner, a caller who leaves cancelling its handler. Sites and gunicorn's worker take connections from
    `server`, so that is where ours come in: aiohttp has no argument for them."""

    __slots__ = ("_bounds", "_clock", "_connections", "_logger")

    def __init__(self, app: web.Application, *, bounds: Bounds, logger: Logger, shutdown_timeout: float,
                 clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(app, handler_cancellation=True, access_log=None, shutdown_timeout=shutdown_timeout)
        self._bounds = bounds
        self._clock = clock
        self._logger = logger
        self._connections: Connections | None = None

    @property
    def server(self) -> Any:
        """What makes a connection's protocol; None before `setup`."""
        return self._connections

    async def setup(self) -> None:
        await super().setup()
        server, times = super().server, self._bounds.deadlines
        assert server is not None
        server.request_factory = partial(begun, server.request_factory)
        options = {
            "access_log": None,
            "auto_decompress": False,  # aiohttp would unpack a gigabyte out of a mebibyte, for whoever sends it
            "keepalive_timeout": 2 * (times.idle + times.head),  # its timer cannot tell an idle caller from a slow one
            "logger": self._logger,
            "max_field_size": LARGEST_LINE,
            "max_line_size": LARGEST_LINE,
        }
        self._connections = Connections(
            server, bounds=self._bounds, keyless=self._keyless, clock=self._clock, options=options,
            proxies=self.app.get(PROXIES, Proxies(())))
        self._connections.start()

    async def cleanup(self) -> None:
        await super().cleanup()
        if self._connections is not None:
            self._connections.stop()
            self._connections = None

    def _keyless(self) -> bool:
        """An application that is none of ours has no keys either."""
        return SERVICES not in self.app or self.app[SERVICES].authenticator.keyless


def begun(make: Callable[..., web.BaseRequest], *parts: Any) -> web.BaseRequest:
    """Make a request, which is what happens to every one that is about to be handled, and tell its connection."""
    request = make(*parts)
    connection = request.protocol
    if isinstance(connection, Connection) and (error := connection.begin(request)):
        request[REFUSED] = error
    return request
