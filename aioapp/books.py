"""The books: who may come in, what everybody used and what that cost. Kept while the server runs."""
import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aioapp.callers import Limits
from aioapp.generation import Call, Record
from aioapp.keys import Keyring
from aioapp.keys.authenticator import Authenticator
from aioapp.store.embedded.allowance import Limiter
from aioapp.store.embedded.board.board import open_board
from aioapp.store.embedded.database import Database
from aioapp.telemetry.metrics import Metrics
from aioapp.usage import Ledger, Prices

PAUSE = 1.0
"""Seconds until work that has failed begins again."""

log = logging.getLogger("aioapp.books")


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    authenticator: Authenticator
    database: Database
    ledger: Ledger
    prices: Prices
    metrics: Metrics

    def began(self, call: Call) -> None:
        """A generation began."""
        self.metrics.in_flight(+1)

    def ended(self, record: Record) -> None:
        """It ended, however it did. What never came to Claude, because we refused it, is no use of Claude."""
        self.metrics.in_flight(-1)
        if not record.asked:
            return
        self.metrics.generation(record, model=self.prices.name(record.model or record.call.prompt.model or ""))
        self.ledger.add(record)


@asynccontextmanager
async def open_books(
        path: Path, *, create: bool, anonymous: Limits, allow_anonymous: bool, keep_prompts: bool, prices: Prices,
        shared_metrics: Path | None,
) -> AsyncIterator[Books]:
    """The books whose database is at `path`; with `create`, it is made where there is none.

    A database that cannot be used is no failure here: it is tried again and again, and callers are told meanwhile.
    """
    database = Database(path, create=create)
    limiter = Limiter(lambda: open_board(path.with_name(f"{path.name}-limits")))
    keyring, ledger = Keyring(database), Ledger(database, limiter, keep_prompts=keep_prompts)
    async with AsyncExitStack() as stack:
        stack.callback(limiter.close)
        stack.push_async_callback(database.close)
        await keyring.refresh()
        await ledger.refresh()
        stack.push_async_callback(ledger.close)
        await stack.enter_async_context(running(keyring.run))
        await stack.enter_async_context(running(ledger.run))
        yield Books(
            authenticator=Authenticator(keyring=keyring, limiter=limiter, anonymous=anonymous, open=allow_anonymous),
            database=database, ledger=ledger, prices=prices, metrics=Metrics(shared=shared_metrics))


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
            log.exception("The books are no longer kept; that begins again in %g s.", pause)
        await asyncio.sleep(pause)
