"""The accounts of one machine, and what all of its processes know of budgets by them."""
import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from sqlite3 import Connection
from typing import NamedTuple, NoReturn, Protocol

from aioapp.callers import Caller, Spent, Standing
from aioapp.errors import StoreUnavailable
from aioapp.store.embedded import reports, request_log, usage_table
from aioapp.store.embedded.database import RETRY_AFTER, Database
from aioapp.store.embedded.limiter import Late, patiently
from aioapp.usage.buffer import KEPT, Pending
from aioapp.usage.usage_store import By, Figures, RequestsPage, Wanted

REFRESH = 0.5
"""Seconds between two looks at what other processes wrote."""
OLDEST = 5.0
"""Seconds after which a look that does not end is one that fails."""

log = logging.getLogger("aioapp.usage")


class Poll(NamedTuple):
    """What the sums were read from. They hold while it is the same, but for what this process wrote.

    `version` changes when another connection commits, and means something for one connection only; holding on to that
    keeps another one from being taken for it.
    """

    connection: Connection
    version: int
    day: str


class Counts(Late, Protocol):
    """Of the limiter, what makes budgets exact."""

    def mark(self) -> object | None: ...

    def written(self, charges: Mapping[tuple[str, str], int]) -> None: ...


class EmbeddedUsage:
    """A `UsageStore` in an SQLite database. All but what is awaited is to be called on the event loop.

    What others write is known at most about a second later; budgets are exact all the same, for what is spent and not
    yet written is on the limiter's board. `reports` is the same database for questions that may take seconds,
    and `keys`, where that is another one, also keeps when each key was used last.
    """

    def __init__(
            self, database: Database, counts: Counts, *, reports: Database | None = None, keys: Database | None = None,
            keep: int = KEPT,
            clock: Callable[[], datetime] = partial(datetime.now, UTC),
            monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._reports = reports or database
        self._keys = keys
        self._counts = counts
        self._keep = keep
        self._clock = clock
        self._monotonic = monotonic
        self._looked = monotonic()
        self._written: Counter[usage_table.Account] = Counter()
        self._alone = asyncio.Lock()
        self._failing = False
        self._poll: Poll | None = None
        self._mark: object | None = None
        self._logged: type[Exception] | None = None

    @property
    def ready(self) -> bool:
        return not self._failing

    @property
    def trouble(self) -> str | None:
        if self._poll is None or self._monotonic() - self._looked > OLDEST:
            return "It cannot be read: the log says why."
        return "What is spent cannot be written into it: the log says why." if self._failing else None

    def known(self, caller: Caller) -> Spent | None:
        """What the database says of the caller's budget; None where it has none.

        Raises `StoreUnavailable` while what is spent cannot be written, or, for a caller with a budget, while it cannot
        be read.
        """
        if self._failing or (caller.budget is not None and self._poll is None):
            refuse()
        if caller.budget is None:
            return None
        at = self._clock()
        period = caller.budget.period(at)
        written = self._written.get((caller.key or "", period), 0)
        return Spent(at=at, period=period, nanodollars=written, mark=self._mark)

    async def spent(self, caller: Caller) -> int:
        if caller.budget is None:
            return 0
        return self._written[caller.key or "", caller.budget.period(self._clock())]

    @property
    def sums(self) -> Mapping[tuple[str, str], int]:
        return self._written

    async def add(self, batch: Pending) -> None:
        """A write that has begun is seen to its end, whoever stops waiting for it: only then it is known."""
        async with self._alone:
            try:
                if self._keys is not None:  # first: it does no harm to do that again
                    await self._keys.write(partial(usage_table.write_used, batch=batch))
                await self._database.write(partial(usage_table.write, batch=batch, keep=self._keep))
            except Exception:
                self._failing = True
                raise
            usage_table.add(self._written, batch.spent())
            self._counts.written(batch.charged)
            self._failing = False

    async def run(self) -> None:
        """Read what others wrote, for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH)

    async def refresh(self, *, unlike: Spent | None = None) -> None:
        """Read what every key has spent, if another process wrote since. Where that fails, budgets are unknown.

        With `unlike`, which is not new enough, nothing is read where that was done since it was known.
        """
        async with self._alone:
            if unlike is not None and unlike.mark is not self._mark:
                return
            looked = self._monotonic()
            mark = await self._new_mark()  # before the day: what was written by then is of none after it
            day = self._clock().astimezone(UTC).date().isoformat()
            try:
                found = await self._database.read(partial(poll, day=day, known=self._poll))
            except Exception as error:
                self._poll = None
                self._log(error)
                return
            self._logged, self._mark, self._looked = None, mark, looked
            if found is not None:
                self._poll, self._written = found

    async def total(self, *, since: date, until: date, key: str | None = None) -> Figures:
        return await self._reports.read(partial(reports.total, since=since, until=until, key=key))

    async def by(self, columns: Sequence[By], *, since: date, until: date) -> tuple[Figures, list[Figures]]:
        keys = self._keys or self._database
        owners = await keys.read(reports.owners) if "owner" in columns else {}
        return await self._reports.read(
            partial(reports.total_and_by, columns=columns, since=since, until=until, owners=owners))

    async def refusals(self, *, since: date, until: date, key: str | None = None) -> list[Figures]:
        return await self._reports.read(partial(reports.refusals, since=since, until=until, key=key))

    async def standings(self, *, at: datetime, key: str | None = None) -> Mapping[str, Standing]:
        return await self._reports.read(partial(reports.standings, at=at, key=key))

    async def own(self, key: str | None, *, today: date) -> Figures:
        return await self._reports.read(partial(reports.own, key=key, today=today))

    async def requests(self, wanted: Wanted, *, limit: int, cursor: str | None = None) -> RequestsPage:
        return await self._reports.read(partial(request_log.page, wanted=wanted, limit=limit, cursor=cursor))

    async def _new_mark(self) -> object | None:
        try:
            return await patiently(self._counts.mark, self._counts)
        except StoreUnavailable:
            return None

    def _log(self, error: Exception) -> None:
        """Once for each fault of ours; the database logs its own."""
        if not isinstance(error, StoreUnavailable) and self._logged is not type(error):
            self._logged = type(error)
            log.error("The accounts cannot be read: %s", type(error).__name__, exc_info=error)


def poll(
        connection: Connection, *, day: str, known: Poll | None) -> tuple[Poll, Counter[usage_table.Account]] | None:
    """The sums and what they were read from; None where that is still what is known."""
    [version] = connection.execute("PRAGMA data_version").fetchone()
    now = Poll(connection, version, day)
    return None if now == known else (now, usage_table.read_spent(connection, day))


def refuse() -> NoReturn:
    detail = "What this would cost cannot be accounted for. Try again in a moment."
    raise StoreUnavailable(detail, retry_after=RETRY_AFTER)
