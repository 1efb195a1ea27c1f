"""Budgets under random schedules: never overspent, never refused without need, nothing left set aside."""
import asyncio
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioapp.clients import Client
from aioapp.errors import BudgetSpent
from aioapp.usage import Hold, Ledger
from tests.generations import Clock, ended, ledger_at, with_budget

BUDGET = 1000
CLIENTS = {"day": with_budget(BUDGET, name="daily"), "month": with_budget(BUDGET, name="monthly", per="month")}
PER = st.sampled_from(["day", "month"])
STEPS = st.lists(st.one_of(
    st.tuples(st.just("hold"), PER, st.integers(0, 600)),
    st.tuples(st.just("end"), PER, st.floats(0, 1)),
    st.tuples(st.just("leave"), PER, st.just(0)),
    st.tuples(st.just("flush"), PER, st.just(0)),
    st.tuples(st.just("refresh"), PER, st.just(0)),
    st.tuples(st.just("wait"), PER, st.integers(0, 40))), max_size=60)


@dataclass
class Model:
    """What a budget is, in the plainest words: a number for each period, and the holds that are open."""

    client: Client
    spent: dict[str, int] = field(default_factory=dict)
    held: list[Hold] = field(default_factory=list)

    def period(self, clock: Clock) -> str:
        return clock.now.date().isoformat()[:10 if self.client.name == "daily" else 7]

    def left(self, clock: Clock) -> int:
        return BUDGET - self.spent.get(self.period(clock), 0) - sum(hold.nanodollars for hold in self.held)


async def step(what: str, amount: Any, *, model: Model, ledger: Ledger, clock: Clock) -> None:
    match what:
        case "hold":
            granted = amount <= model.left(clock)
            try:
                model.held.append(ledger.hold(model.client, amount))
            except BudgetSpent:
                assert not granted
            else:
                assert granted
        case "end" if model.held:
            hold = model.held.pop()
            cost, period = int(hold.nanodollars * amount), model.period(clock)
            model.spent[period] = model.spent.get(period, 0) + cost
            ledger.add(ended(model.client, cost))
            hold.release()
        case "leave" if model.held:
            model.held.pop().release()
        case "flush":
            await ledger.flush()
        case "refresh":
            await ledger.refresh()
        case "wait":
            clock.now += timedelta(hours=amount)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_a_budget_is_never_overspent_and_never_refuses_without_need(steps: list[tuple[str, str, Any]]) -> None:
    async def drive(path: Path) -> None:
        clock, models = Clock(), {per: Model(client) for per, client in CLIENTS.items()}
        async with ledger_at(path, clock=clock) as (ledger, _):
            for what, per, amount in steps:
                await step(what, amount, model=models[per], ledger=ledger, clock=clock)
                for model in models.values():
                    assert ledger.spent(model.client) == model.spent.get(model.period(clock), 0) <= BUDGET
            for model in models.values():
                while model.held:
                    model.held.pop().release()
                left = model.left(clock)
                ledger.hold(model.client, left).release()
            assert not ledger._accounts._held, "something is left set aside"

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(drive(Path(folder) / "db"))


OF_MANY = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["add", "flush", "refresh"])), max_size=40)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=OF_MANY)
def test_processes_that_share_a_database_agree_once_all_have_written_and_looked(steps: list[tuple[int, str]]) -> None:
    async def drive(path: Path) -> None:
        async with ledger_at(path) as (one, _), ledger_at(path) as (two, _), ledger_at(path) as (three, _):
            ledgers, client, total = (one, two, three), CLIENTS["day"], 0
            for number, (which, what) in enumerate(steps):
                match what:
                    case "add":
                        ledgers[which].add(ended(client, 2 ** number))
                        total += 2 ** number
                    case "flush":
                        await ledgers[which].flush()
                    case "refresh":
                        await ledgers[which].refresh()
                assert all(ledger.spent(client) <= total for ledger in ledgers)
            for ledger in ledgers:
                await ledger.flush()
            for ledger in ledgers:
                await ledger.refresh()
            assert [ledger.spent(client) for ledger in ledgers] == [total] * 3

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(drive(Path(folder) / "db"))
