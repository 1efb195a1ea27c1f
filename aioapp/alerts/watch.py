"""Looks at what may have to be told, once a second: nothing of it is done where callers wait."""
import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aioapp.errors import StoreUnavailable

EVERY = 1.0
"""Seconds."""
PATIENCE = 5.0
"""Seconds that one look may take: a database that hangs ends none."""

Look = Callable[[], Awaitable[None]]

log = logging.getLogger("aioapp.alerts")


async def watch(looks: Sequence[Look], *, patience: float = PATIENCE) -> None:
    """Look, for ever. What cannot be told for the database is away is told when it is back."""
    while True:
        for look in looks:
            try:
                async with asyncio.timeout(patience):
                    await look()
            except (StoreUnavailable, TimeoutError) as error:
                log.debug("Alerts wait for the database: %s", type(error).__name__)
        await asyncio.sleep(EVERY)
