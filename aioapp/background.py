"""Work that is done on the side, for as long as something else runs."""
import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

PAUSE = 1.0
"""Seconds until work that has failed begins again."""

log = logging.getLogger("aioapp.app")


@asynccontextmanager
async def running(work: Callable[[], Awaitable[None]], *, pause: float = PAUSE) -> AsyncIterator[None]:
    """Have `work`, which has no end of its own, done on the side until this is left. Where it ends, it begins again."""
    task = asyncio.create_task(kept_up(work, pause=pause))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def kept_up(work: Callable[[], Awaitable[None]], *, pause: float) -> None:
    """Without it the server would go on, and let in whoever was revoked or has spent all."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("Keys and accounts are no longer kept; that begins again in %g s.", pause)
        await asyncio.sleep(pause)
