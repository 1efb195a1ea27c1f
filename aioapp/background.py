"""Work that is done on the side, for as long as something else runs."""
import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

PAUSE = 1.0
"""Seconds until work that has failed begins again."""
BOOKS = "Keys and accounts are no longer kept"

log = logging.getLogger("aioapp.app")


@asynccontextmanager
async def running(
        work: Callable[[], Awaitable[None]], *, pause: float = PAUSE, without: str = BOOKS) -> AsyncIterator[None]:
    """Have `work`, which has no end of its own, done on the side until this is left. Where it ends, it begins again.

    `without` says what it means that it has failed.
    """
    task = asyncio.create_task(kept_up(work, pause=pause, without=without))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def kept_up(work: Callable[[], Awaitable[None]], *, pause: float, without: str = BOOKS) -> None:
    """Without it the server would go on, and let in whoever was revoked or has spent all."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("%s; that begins again in %g s.", without, pause)
        await asyncio.sleep(pause)
