"""How a worker ends whose successor serves already: without a connection that is dropped, or a call that is refused."""
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from aioapp.web.operations.websocket import close_sockets

PAUSE = 0.1
"""Seconds from one look at what is left to the next."""


async def retire(
        runner: web.AppRunner, site: web.BaseSite, *, stop: asyncio.Event, longest: float,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Take no more connections, and serve those there are until they are closed, or `stop` is set, or for so long.

    An answer says that its connection is closed after it; callers open another one, which a successor takes. One on
    which nothing is asked is kept for as long as any, for its next request may be on its way. A WebSocket is closed
    once nothing runs on it.
    """
    connections: Any = runner.server
    await site.stop()
    connections.retire()
    left = longest
    while connections.open and left > 0 and not stop.is_set():
        await close_sockets(runner.app, idle=True)
        await sleep(PAUSE)
        left -= PAUSE
