"""What every key has spent in this day and month, as far as this process has read and written it."""
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from sqlite3 import Connection

from aioapp.callers import Budget, Caller, Spent
from aioapp.store.embedded.errors import sound
from aioapp.usage.buffer import Pending

Account = tuple[str, str]
"""A key and a period: a day such as 2026-11-23, or a month such as 2026-11."""

SPENT = "SELECT key, period, nanodollars FROM spent WHERE period IN (:day, :month)"


class Accounts:
    """Written and unwritten spending are kept apart, so that what the database says can take the place of the one and
    leave the other. Amounts are nanodollars."""

    __slots__ = ("_unwritten", "_written")

    def __init__(self) -> None:
        self._written: Counter[Account] = Counter()
        self._unwritten: Counter[Account] = Counter()

    def spent(self, caller: Caller, *, at: datetime) -> int:
        """In the period of its budget in which `at` lies; nothing where it has no budget."""
        if caller.budget is None:
            return 0
        account = caller.key or "", caller.budget.period(at)
        return self._written[account] + self._unwritten[account]

    def known(self, budget: Budget, key: str, *, at: datetime, mark: object | None) -> Spent:
        """What the database says, for whoever counts together with other processes what it does not say yet."""
        period = budget.period(at)
        return Spent(at=at, period=period, nanodollars=self._written[key, period], mark=mark)

    def charge(self, key: str, nanodollars: int, *, day: str) -> None:
        """Spent now, and not yet written."""
        add(self._unwritten, [(day, key, nanodollars)])

    def written(self, batch: Pending) -> None:
        """All of `batch` is in the database now."""
        add(self._written, batch.spent())
        add(self._unwritten, ((day, key, -nanodollars) for day, key, nanodollars in batch.spent()))

    def read(self, sums: Counter[Account]) -> None:
        """What the database says takes the place of what was known of it."""
        self._written = sums
        self._unwritten = +self._unwritten


def add(counter: Counter[Account], spent: Iterable[tuple[str, str, int]]) -> None:
    for day, key, nanodollars in spent:
        counter[key, day] += nanodollars
        counter[key, day[:7]] += nanodollars


@sound()
def read_spent(connection: Connection, day: str) -> Counter[Account]:
    """What the database says that every key has spent on `day` and in its month."""
    rows = connection.execute(SPENT, {"day": day, "month": day[:7]})
    return Counter({(key, period): int(nanodollars) for key, period, nanodollars in rows})
