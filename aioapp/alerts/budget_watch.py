"""Sees budgets near their end, spent, and too small for what was asked; each is told once a period."""
import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from aioapp.alerts.alert import Alert, AlertStore, Claim
from aioapp.callers import EVERYBODY, Budget, Caller, Period
from aioapp.errors import BudgetSpent, ServerBudgetSpent
from aioapp.generation import Generation
from aioapp.money import NANO

PERIODS: tuple[Period, ...] = ("day", "month")
AT_ONCE = 256
"""Keys that are looked at before the event loop turns to something else."""
MOST = 100
"""Alerts that are claimed in one write; the others come with the next look."""
REMEMBERED = timedelta(days=1)
"""Beyond the period, for clocks that differ."""


class BudgetWatch:
    """`callers` are those with a budget, `sums` what each has spent, by name and period, in nanodollars."""

    def __init__(
            self, store: AlertStore, *, callers: Callable[[], Iterable[Caller]],
            sums: Callable[[], Mapping[tuple[str, str], int]], clock: Callable[[], datetime]) -> None:
        self._store = store
        self._callers = callers
        self._sums = sums
        self._clock = clock
        self._claimed: set[Claim] = set()
        self._refused: set[str] = set()

    def see(self, generation: Generation) -> None:
        """An observer: a flag is all that it sets."""
        if generation.error == BudgetSpent.title:
            self._refused.add(generation.admission.caller.name)
        elif generation.error == ServerBudgetSpent.title:
            self._refused.add(EVERYBODY)

    async def look(self) -> None:
        """Claim what is to be told. Raises `StoreUnavailable`."""
        refused, self._refused = self._refused, set()
        try:
            found = await self._found(refused)
            if found:
                self._claimed |= await self._store.claim(found[:MOST])
        except BaseException:
            self._refused |= refused
            raise
        if not all(alert.claim in self._claimed for alert in found):
            self._refused |= refused  # for the next look

    async def _found(self, refused: Collection[str]) -> list[Alert]:
        """What is to be told, as far as is known here."""
        now, found, current = self._clock(), list[Alert](), set[tuple[str, str]]()
        periods, sums = {per: Budget(nanodollars=1, per=per).period(now) for per in PERIODS}, self._sums()
        for number, caller in enumerate(self._callers(), 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            budget = caller.budget
            if budget is None:
                continue
            spent = sums.get((caller.name, periods[budget.per]), 0)
            if budget.is_near(spent) or caller.name in refused:
                about = (caller.name, f"{periods[budget.per]}/{budget.nanodollars}")
                current.add(about)
                claims = {Claim(kind, *about) for kind in reached(caller, spent=spent, refused=caller.name in refused)}
                found += [alert_of(claim, budget, spent=spent, at=now) for claim in sorted(claims - self._claimed)]
        self._claimed = {claim for claim in self._claimed if claim[1:] in current or claim.type.endswith("refused")}
        return found


def reached(caller: Caller, *, spent: int, refused: bool) -> Iterator[str]:
    """The types of what there is to tell of the caller's budget."""
    whose, budget = "server" if caller.name == EVERYBODY else "key", caller.budget
    if budget is None:
        return
    if budget.is_near(spent):
        yield f"{whose}.budget.near"
    if budget.is_spent(spent):
        yield f"{whose}.budget.spent"
    elif refused:
        yield f"{whose}.budget.refused"


def alert_of(claim: Claim, budget: Budget, *, spent: int, at: datetime) -> Alert:
    renews = budget.renews(at)
    key = {} if claim.subject == EVERYBODY else {"key": claim.subject}
    return Alert(claim=claim, at=at, kept_until=renews + REMEMBERED, data={
        **key,
        "budget": {"usd": budget.nanodollars / NANO, "per": budget.per, "strict": budget.strict},
        "spent_usd": spent / NANO,
        "percent": spent * 100 // budget.nanodollars,
        "renews_at": renews.isoformat(),
    })
