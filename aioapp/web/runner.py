"""Runs an application as a server whose connections are bounded, under `python -m aioapp` as under gunicorn."""
import time
from collections.abc import Callable
from logging import Logger
from typing import Any

from aiohttp import web

from aioapp.web import SERVICES
from aioapp.web.bounds import Bounds
from aioapp.web.connections import Connections

BOUNDS = web.AppKey("bounds", Bounds)


class Runner(web.AppRunner):
    """aiohttp's runner, a caller who leaves cancelling its handler. Sites and gunicorn's worker take connections from
    `server`, so that is where ours come in: aiohttp has no argument for them."""

    __slots__ = ("_clock", "_connections", "_logger")

    def __init__(self, app: web.Application, *, logger: Logger, shutdown_timeout: float,
                 clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(app, handler_cancellation=True, access_log=None, shutdown_timeout=shutdown_timeout)
        self._clock = clock
        self._logger = logger
        self._connections: Connections | None = None

    @property
    def server(self) -> Any:
        """What makes a connection's protocol; None before `setup`."""
        return self._connections

    async def setup(self) -> None:
        await super().setup()
        server, bounds = super().server, self.app.get(BOUNDS, Bounds())
        assert server is not None
        # aiohttp's own timer cannot tell a connection that idles from one whose headers are on their way.
        never = 2 * (bounds.deadlines.idle + bounds.deadlines.head)
        self._connections = Connections(
            server, bounds=bounds, keyless=self._keyless, clock=self._clock,
            # aiohttp would unpack a gigabyte out of a mebibyte, and for callers who show no key.
            options={"access_log": None, "auto_decompress": False, "keepalive_timeout": never, "logger": self._logger})
        self._connections.start()

    async def cleanup(self) -> None:
        await super().cleanup()
        if self._connections is not None:
            self._connections.stop()
            self._connections = None

    def _keyless(self) -> bool:
        """An application that is none of ours has no keys either."""
        return SERVICES not in self.app or self.app[SERVICES].gate.keyless
