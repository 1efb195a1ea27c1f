"""Gauges of keys and budgets, made when Prometheus asks: each process knows what all have spent."""
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from heapq import nlargest
from typing import TYPE_CHECKING

from aioapp.callers import Budget, Caller, Standing
from aioapp.keys.key import Key
from aioapp.keys.state import STATES, state_of
from aioapp.money import NANO

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

MOST = 2000
"""Keys that have series of their own: those that have spent most of their budgets."""

TOLD = tuple(state for state in STATES if state != "limited")
"""That a key is limited is in the accounts, which nobody reads for a gauge: `aioapp_key_refusals_total` tells it."""

Row = tuple[tuple[str, ...], Budget, int]
"""Labels, the budget, and what is spent of it."""


class Standings:
    """A collector of Prometheus's. `keys` are all that are known, `sums` what each has spent, by name and period."""

    def __init__(
            self, *, keys: Callable[[], Iterable[Key]], sums: Callable[[], Mapping[tuple[str, str], int]],
            everybody: Caller) -> None:
        self._keys = keys
        self._sums = sums
        self._everybody = everybody

    def collect(self) -> "Iterator[GaugeMetricFamily]":
        from prometheus_client.core import GaugeMetricFamily

        now, sums = datetime.now(UTC), self._sums()
        states, rows = Counter[str](), list[Row]()
        for key in self._keys():
            spent = 0 if key.budget is None else sums.get((key.name, key.budget.period(now)), 0)
            standing = Standing(spent={key.budget.per: spent} if key.budget else {})
            states[state_of(key, standing, at=now)] += 1
            if key.budget is not None and key.state(now) == "active":
                rows.append(((key.name, key.budget.per), key.budget, spent))
        family = GaugeMetricFamily("aioapp_keys", "Keys, by what they are like", labels=("state",))
        for state in TOLD:
            family.add_metric((state,), states[state])
        yield family
        yield from budgets("key_budget", "a key", labels=("key", "per"), rows=nlargest(MOST, rows, key=share))
        if (budget := self._everybody.budget) is not None:
            row = (budget.per,), budget, sums.get((self._everybody.name, budget.period(now)), 0)
            yield from budgets("server_budget", "the whole server", labels=("per",), rows=[row])


def share(row: Row) -> float:
    return row[2] / row[1].nanodollars


def budgets(name: str, whose: str, *, labels: tuple[str, ...], rows: Iterable[Row]) -> "Iterator[GaugeMetricFamily]":
    from prometheus_client.core import GaugeMetricFamily

    limit = GaugeMetricFamily(f"aioapp_{name}_usd", f"What {whose} may spend in its period", labels=labels)
    used = GaugeMetricFamily(f"aioapp_{name}_spent_usd", f"What {whose} has spent of that", labels=labels)
    for values, budget, spent in rows:
        limit.add_metric(values, budget.nanodollars / NANO)
        used.add_metric(values, spent / NANO)
    yield limit
    yield used
