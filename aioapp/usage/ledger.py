"""The account of every generation, kept in memory for a moment and in its store for good.

What is added is written, with all that came meanwhile, a quarter of a second later in one transaction. So a process
that is killed loses what ended in its last second at most (the quarter, and the time that a write takes), and a store
that cannot be used loses nothing: what could not be written waits for it.
"""
import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from aioapp.callers import Caller
from aioapp.errors import StoreUnavailable
from aioapp.generation import Generation
from aioapp.usage.buffer import LONGEST_PROMPT, Names, Pending, Refusal, plain
from aioapp.usage.usage_store import UsageStore

GATHER = 0.25
"""Seconds in which what is added is gathered for one write."""
RETRY = 1.0
"""Seconds from a write that failed to the next: a lock keeps the database's one thread waiting as long."""

log = logging.getLogger("aioapp.usage")


class Ledger:
    """Who spent what. All but what is awaited is to be called on the event loop.

    Where the server has a budget, `everybody` is whom each generation is charged to besides its caller.
    """

    def __init__(
            self, store: UsageStore, *, clock: Callable[[], datetime] = partial(datetime.now, UTC),
            keep_prompts: bool = False, everybody: Caller | None = None,
    ) -> None:
        self._store = store
        self._charged = everybody.account if everybody is not None and everybody.budget is not None else None
        self._clock = clock
        self._keep_prompts = keep_prompts
        self._names = Names()
        self._pending = Pending()
        self._added = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._logged: type[Exception] | None = None

    def add(self, generation: Generation) -> None:
        """Account for a generation that has ended. It is written by `run`."""
        at = self._now()
        prompt = plain(generation.prompt.text, most=LONGEST_PROMPT) if self._keep_prompts else None
        cost = self._pending.add(generation, at=at, model=self._names.kept(generation), prompt=prompt)
        if self._charged is not None:
            self._pending.charged[self._charged, at[:10]] += cost
        self._added.set()

    def refuse(self, refusal: Refusal) -> None:
        """Count a refusal. It is written by `run`."""
        self._pending.refuse(refusal, at=self._now())
        self._added.set()

    async def run(self) -> None:
        """Write what is added, for ever."""
        while True:
            await self._added.wait()
            await asyncio.sleep(GATHER if self._store.ready else RETRY)
            await self.flush()

    async def flush(self) -> None:
        """Write all that was added. Where that fails it is kept, and the store is not `ready` until it is written.

        A write that has begun is seen to its end, whoever stops waiting for it: only then is it known what it wrote.
        """
        while self._writing is not None and not self._writing.done():
            await asyncio.shield(self._writing)
        self._writing = asyncio.create_task(self._write())
        await asyncio.shield(self._writing)

    async def close(self) -> None:
        """Write what is left."""
        await self.flush()
        if self._pending:
            log.error("%d generations could not be accounted for: they are lost.", len(self._pending))

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="milliseconds")

    async def _write(self) -> None:
        batch, self._pending = self._pending, Pending()
        self._added.clear()
        if not batch:
            return
        try:
            await self._store.add(batch)
        except Exception as error:  # whatever it was: this has been spent
            batch.follow(self._pending)
            self._pending = batch
            self._added.set()
            self._log(error)
        else:
            self._logged = None

    def _log(self, error: Exception) -> None:
        """Once for each fault of ours; the store logs its own."""
        if not isinstance(error, StoreUnavailable) and self._logged is not type(error):
            self._logged = type(error)
            log.error("The accounts cannot be written: %s", type(error).__name__, exc_info=error)
