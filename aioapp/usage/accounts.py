"""What every key has spent in this day and month, and what its running generations may still spend."""
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from sqlite3 import Connection

from aioapp.clients import NANO, Budget, Client
from aioapp.errors import BadRequest, BudgetSpent
from aioapp.store.damage import sound
from aioapp.usage.pending import Pending

Account = tuple[str, str]
"""A key and a period: a day such as 2026-11-23, or a month such as 2026-11."""

SPENT = "SELECT key, period, nanodollars FROM spent WHERE period IN (:day, :month)"
PER_DOLLAR = 10_000
HUNDREDTH = NANO // PER_DOLLAR
"""A hundredth of a cent, in nanodollars."""


class Accounts:
    """Written and unwritten spending are kept apart, so that what the database says can take the place of the one and
    leave the other. Amounts are nanodollars."""

    __slots__ = ("_held", "_unwritten", "_written")

    def __init__(self) -> None:
        self._written: Counter[Account] = Counter()
        self._unwritten: Counter[Account] = Counter()
        self._held: Counter[str] = Counter()

    def spent(self, client: Client, *, at: datetime) -> int:
        """In the period of its budget in which `at` lies; nothing where it has no budget."""
        if client.budget is None:
            return 0
        account = client.key or "", period(client.budget, at)
        return self._written[account] + self._unwritten[account]

    def hold(self, client: Client, nanodollars: int, *, at: datetime) -> "Hold":
        """Set so much aside for one generation. Raises `BudgetSpent` where there is not so much left.

        Raises `BadRequest` where even the whole budget is less: it would be no use to wait until it renews.
        """
        key = client.key or ""
        if client.budget is None:
            return Hold(self._held, key=key, nanodollars=0)
        if nanodollars > client.budget.nanodollars:
            raise too_dear(client.budget, nanodollars)
        spent, held = self.spent(client, at=at), self._held[key]
        if spent + held + nanodollars > client.budget.nanodollars:
            raise BudgetSpent(refusal(client.budget, spent=spent, held=held, wanted=nanodollars, at=at))
        return Hold(self._held, key=key, nanodollars=nanodollars)

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


class Hold:
    """What is set aside for one generation, until it is released."""

    __slots__ = ("_held", "_key", "nanodollars")

    def __init__(self, held: Counter[str], *, key: str, nanodollars: int) -> None:
        self._held, self._key, self.nanodollars = held, key, nanodollars
        if nanodollars:
            held[key] += nanodollars

    def release(self) -> None:
        """Give it back, once: further calls do nothing.

        What was spent instead is charged right after, and nothing is awaited in between: no other call sees money that
        is neither held nor spent.
        """
        amount, self.nanodollars = self.nanodollars, 0
        if amount:
            self._held[self._key] -= amount
            if not self._held[self._key]:
                del self._held[self._key]


def add(counter: Counter[Account], spent: Iterable[tuple[str, str, int]]) -> None:
    for day, key, nanodollars in spent:
        counter[key, day] += nanodollars
        counter[key, day[:7]] += nanodollars


def period(budget: Budget, at: datetime) -> str:
    began = budget.began(at).date().isoformat()
    return began if budget.per == "day" else began[:7]


@sound()
def read_spent(connection: Connection, day: str) -> Counter[Account]:
    """What the database says that every key has spent on `day` and in its month."""
    rows = connection.execute(SPENT, {"day": day, "month": day[:7]})
    return Counter({(key, period): int(nanodollars) for key, period, nanodollars in rows})


def refusal(budget: Budget, *, spent: int, held: int, wanted: int, at: datetime) -> str:
    whole, left = f"{dollars(budget.nanodollars)} a {budget.per}", budget.nanodollars - spent - held
    renews = f"the budget renews on {budget.renews(at).isoformat()}."
    if left > 0:
        return f"{about(left)} of {whole} are left and this may cost {about(wanted, up=True)}; {renews}"
    aside = " or set aside for running requests" if spent < budget.nanodollars else ""
    return f"{whole} are spent{aside}; {renews}"


def too_dear(budget: Budget, nanodollars: int) -> BadRequest:
    whole = f"{dollars(budget.nanodollars)} a {budget.per}"
    return BadRequest(f"This may cost {about(nanodollars, up=True)}, and the key's whole budget is {whole}: "
                      "lower max_tokens, or choose a cheaper model.")


def about(nanodollars: int, *, up: bool = False) -> str:
    """In dollars, to a hundredth of a cent: of two amounts, the greater one must not look like the lesser."""
    amount = -(-nanodollars // HUNDREDTH) if up else nanodollars // HUNDREDTH
    return f"${amount // PER_DOLLAR}.{amount % PER_DOLLAR:04d}"


def dollars(nanodollars: int) -> str:
    """Exactly: with cents, and with what is below them where there is such."""
    below = f"{nanodollars % NANO:09d}"
    return f"${nanodollars // NANO}.{below[:2]}{below[2:].rstrip('0')}"
