"""The account of every generation, kept in memory for a moment and in the database for good.

What is added is written, with all that came meanwhile, a quarter of a second later in one transaction. So a process
that is killed loses what ended in its last second at most (the quarter, and the time that a write takes), and a
database that cannot be used loses nothing: what could not be written waits for it.
"""
import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import NamedTuple, NoReturn

from aioapp.callers import Caller, Spent
from aioapp.errors import StoreUnavailable
from aioapp.generation import Record
from aioapp.store.embedded.database import RETRY_AFTER, Database
from aioapp.usage.budgets import Account, Accounts, read_spent
from aioapp.usage.buffer import LONGEST_PROMPT, Names, Pending, plain
from aioapp.usage.counts import Counts

GATHER = 0.25
"""Seconds in which what is added is gathered for one write."""
REFRESH = 0.5
"""Seconds between two looks at what other processes wrote."""
RETRY = 1.0
"""Seconds from a write that failed to the next: a lock keeps the database's one thread waiting as long."""

log = logging.getLogger("aioapp.usage")


class Look(NamedTuple):
    """What the sums were read from. They hold while it is the same, but for what this process wrote.

    `version` changes when another connection commits, and means something for one connection only; holding on to that
    keeps another one from being taken for it.
    """

    connection: Connection
    version: int
    day: str


class Ledger:
    """Who spent what. All but what is awaited is to be called on the event loop.

    What others write is known at most about a second later; budgets are exact all the same, by `counts`.
    """

    def __init__(
            self, database: Database, counts: Counts, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC),
            keep_prompts: bool = False,
    ) -> None:
        self._database = database
        self._counts = counts
        self._clock = clock
        self._keep_prompts = keep_prompts
        self._names = Names()
        self._accounts = Accounts()
        self._pending = Pending()
        self._added = asyncio.Event()
        self._alone = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None
        self._failing = False
        self._look: Look | None = None
        self._mark: object | None = None
        self._told: dict[str, type[Exception]] = {}

    def add(self, record: Record) -> None:
        """Account for a generation that has ended. It is written by `run`."""
        at, call = self._clock().astimezone(UTC).isoformat(timespec="milliseconds"), record.call
        prompt = plain(call.prompt.messages[-1].content, most=LONGEST_PROMPT) if self._keep_prompts else None
        nanodollars = self._pending.add(record, at=at, model=self._names.kept(record), prompt=prompt)
        self._accounts.charge(call.caller.key or "", nanodollars, day=at[:10])
        if call.caller.budget is not None:
            self._counts.charge(call.caller, nanodollars)
        self._added.set()

    @property
    def ready(self) -> bool:
        """Whether what is spent can be written, as far as is known."""
        return not self._failing

    def known(self, caller: Caller) -> Spent | None:
        """What the database says of the caller's budget; None where it has none.

        Raises `StoreUnavailable` while what is spent cannot be written, or, for a caller with a budget, while it cannot
        be read.
        """
        if self._failing or (caller.budget is not None and self._look is None):
            refuse()
        if caller.budget is None:
            return None
        return self._accounts.known(caller.budget, caller.key or "", at=self._clock(), mark=self._mark)

    def spent(self, caller: Caller) -> int:
        """Nanodollars, in the current period of the caller's budget, as far as this process knows."""
        return self._accounts.spent(caller, at=self._clock())

    async def run(self) -> None:
        """Write what is added and read what others wrote, for ever."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._keep_writing())
            both.create_task(self._keep_reading())

    async def flush(self) -> None:
        """Write all that was added. Where that fails it is kept, and `known` refuses until it is written.

        A write that has begun is seen to its end, whoever stops waiting for it: only then is it known what it wrote.
        """
        while self._writing is not None and not self._writing.done():
            await asyncio.shield(self._writing)
        self._writing = asyncio.create_task(self._write())
        await asyncio.shield(self._writing)

    async def refresh(self, *, unlike: Spent | None = None) -> None:
        """Read what every key has spent, if another process wrote since. Where that fails, budgets are unknown.

        With `unlike`, which is not new enough, nothing is read where that was done since it was known.
        """
        async with self._alone:
            if unlike is not None and unlike.mark is not self._mark:
                return
            mark = self._counts.mark()  # before the day: what was written by then is of none after it
            day = self._clock().astimezone(UTC).date().isoformat()
            try:
                found = await self._database.read(lambda connection: look(connection, day, known=self._look))
            except Exception as error:
                self._look = None
                self._tell("read", error)
                return
            self._told.pop("read", None)
            self._mark = mark
            if found is not None:
                self._look, sums = found
                self._accounts.read(sums)

    async def close(self) -> None:
        """Write what is left."""
        await self.flush()
        if self._pending:
            log.error("%d generations could not be accounted for: they are lost.", len(self._pending))

    async def _keep_writing(self) -> None:
        while True:
            await self._added.wait()
            await asyncio.sleep(RETRY if self._failing else GATHER)
            await self.flush()

    async def _keep_reading(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH)

    async def _write(self) -> None:
        async with self._alone:
            batch, self._pending = self._pending, Pending()
            self._added.clear()
            if not batch:
                return
            try:
                await self._database.write(batch.write)
            except Exception as error:  # whatever it was: this has been spent
                batch.follow(self._pending)
                self._pending, self._failing = batch, True
                self._added.set()
                self._tell("written", error)
            else:
                self._accounts.written(batch)
                self._counts.written(batch.charged)
                self._failing = False
                self._told.pop("written", None)

    def _tell(self, doing: str, error: Exception) -> None:
        """Once for each fault of ours; the database tells its own."""
        if not isinstance(error, StoreUnavailable) and self._told.get(doing) is not type(error):
            self._told[doing] = type(error)
            log.error("The accounts cannot be %s: %s", doing, type(error).__name__, exc_info=error)


def look(connection: Connection, day: str, *, known: Look | None) -> tuple[Look, Counter[Account]] | None:
    """The sums and what they were read from; None where that is still what is known."""
    [version] = connection.execute("PRAGMA data_version").fetchone()
    now = Look(connection, version, day)
    return None if now == known else (now, read_spent(connection, day))


def refuse() -> NoReturn:
    detail = "What this would cost cannot be accounted for. Try again in a moment."
    raise StoreUnavailable(detail, retry_after=RETRY_AFTER)
