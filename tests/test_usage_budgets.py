"""Budgets under random schedules: never overspent, never refused without need, nothing left set aside."""
import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioapp.callers import Caller
from aioapp.errors import BudgetSpent, StoreUnavailable
from aioapp.store.embedded.limiter import Limiter, Reservation
from aioapp.store.embedded.board.board import Board, PrivateBoard
from aioapp.store.embedded.board.directory import SETTLING
from aioapp.store.embedded.board.file import NAME, SharedBoard
from aioapp.store.embedded.database import Database
from aioapp.store.embedded.allowance import EmbeddedAllowance
from aioapp.store.embedded.usage import EmbeddedUsage
from aioapp.usage import Ledger
from tests.generations import Clock, ended, ledger_at, with_budget

BUDGET = 1000
CLIENTS = (with_budget(BUDGET, name="daily"), with_budget(BUDGET, name="monthly", per="month"))
COMMON = ("hold", "hold", "hold", "end", "end", "leave", "flush", "refresh", "wait")
HARM = ("write", "tell", "kill", "lose", "spoil")
Step = tuple[str, int, int, int]
"""What happens, to which process and which client, and how much of it."""


def steps(*kinds: str) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 2), st.integers(0, 1), st.integers(0, 600)),
                    max_size=60)


@dataclass
class Late:
    """Counts that are told a while after the write what was written, as they are where the event loop is busy."""

    limiter: Limiter
    telling_late: bool = False
    untold: list[Mapping[tuple[str, str], int]] = field(default_factory=list)

    def mark(self) -> object | None:
        return self.limiter.mark()

    def late(self, error: BaseException) -> StoreUnavailable:
        return self.limiter.late(error)

    def written(self, charges: Mapping[tuple[str, str], int]) -> None:
        self.untold.append(charges)
        if not self.telling_late:
            self.tell()

    def tell(self) -> None:
        while self.untold:
            self.limiter.written(self.untold.pop(0))


@dataclass
class Process:
    """What one process has of the books, and what it has running. `unwritten` is by client and period."""

    ledger: Ledger
    usage: EmbeddedUsage
    counts: Late
    database: Database
    running: list[tuple[Caller, Reservation, int]] = field(default_factory=list)
    unwritten: Counter[tuple[str, str]] = field(default_factory=Counter)

    def held(self, client: Caller) -> int:
        return sum(amount for of, _, amount in self.running if of is client)

    async def reserve(self, client: Caller, nanodollars: int) -> Reservation:
        allowance = EmbeddedAllowance(self.counts.limiter, self.usage)
        return await allowance.reserve(client, tokens=1, nanodollars=nanodollars)


class Machine:
    """Processes that share a database and a folder, and, in the plainest words, what each client has spent."""

    def __init__(self, path: Path, *, private: bool) -> None:
        self.path, self.private, self.clock, self.seconds = path, private, Clock(), 1000.0
        self.processes: list[Process] = []
        self.written: Counter[tuple[str, str]] = Counter()
        self.lost: Counter[tuple[str, str]] = Counter()
        # What killed processes had charged a moment before may stay counted after midnight, and what they had written
        # without a word may count twice where the board is lost besides.
        self.unsure: Counter[str] = Counter()

    def open_board(self) -> Board:
        return PrivateBoard() if self.private else SharedBoard(self.path.with_name("limits"), poll=0.0)

    async def process(self) -> Process:
        limiter = Limiter(self.open_board, clock=lambda: self.seconds)
        counts, database = Late(limiter), Database(self.path, create=True)
        usage = EmbeddedUsage(database, counts, clock=self.clock)
        process = Process(Ledger(usage, clock=self.clock), usage, counts, database)
        await usage.refresh()
        return process

    def spent(self, client: Caller) -> int:
        """What was charged and not written counts whichever period it is of: it may be a fraction of a second old."""
        assert client.budget is not None
        of = client.name, client.budget.period(self.clock.now)
        open = sum(sum(n for (name, period), n in process.unwritten.items()
                       if name == client.name and len(period) == len(of[1])) for process in self.processes)
        return self.written[of] + self.lost[of] + open

    def left(self, client: Caller) -> int:
        return BUDGET - self.spent(client) - sum(process.held(client) for process in self.processes)

    async def step(self, what: str, which: int, whose: int, amount: int, *, exact: bool) -> None:
        process, client = self.processes[which % len(self.processes)], CLIENTS[whose]
        match what:
            case "hold":
                await self.hold(process, client, amount, exact=exact)
            case "end" if process.running:
                self.end(process, amount)
            case "leave" if process.running:
                process.running.pop()[1].settle(1)
            case "flush" | "write":
                process.counts.telling_late = what == "write"
                await self.flush(process)
            case "tell":
                process.counts.tell()
            case "refresh":
                await process.usage.refresh()
            case "wait":
                self.clock.now += timedelta(hours=amount % 40)
            case "kill":
                await self.kill(process)
            case "lose" | "spoil":
                await self.harm(what)

    async def hold(self, process: Process, client: Caller, amount: int, *, exact: bool) -> None:
        left = self.left(client)
        try:
            reservation = await process.reserve(client, amount)
        except BudgetSpent:
            assert not exact or amount > left
        except StoreUnavailable:
            assert not exact
        else:
            assert amount <= left
            process.running.append((client, reservation, amount))

    def end(self, process: Process, amount: int) -> None:
        client, reservation, held = process.running.pop()
        assert client.budget is not None
        cost = held * (amount % 11) // 10
        reservation.settle(1, cost)
        process.ledger.add(ended(client, cost))
        process.unwritten[client.name, client.budget.period(self.clock.now)] += cost

    async def flush(self, process: Process) -> None:
        await process.ledger.flush()
        self.written += process.unwritten
        process.unwritten.clear()

    async def kill(self, process: Process) -> None:
        await asyncio.sleep(0)  # else what is due of it would be done by the dead
        table = process.counts.limiter._turns._directory
        if table is not None:
            table.board.close()
        await process.database.close()
        self.lost += process.unwritten
        for client in CLIENTS:
            self.unsure[client.account] += sum(n for (name, _), n in process.unwritten.items() if name == client.name)
            self.unsure[client.account] += sum(n for charges in process.counts.untold
                                               for (account, _), n in charges.items() if account == client.account)
        self.processes[self.processes.index(process)] = await self.process()

    async def harm(self, what: str) -> None:
        """The file is removed, or makes no sense. What killed processes had charged goes with it."""
        file = self.path.with_name("limits") / NAME
        if file.exists():
            if what == "lose":
                file.unlink()
            else:
                with file.open("r+b") as open_file:
                    open_file.write(b"spoilt")
        self.lost.clear()

    async def end_all(self) -> None:
        """Everything has ended and is written: nobody holds anything, and all that is left can be spent."""
        for process in self.processes:
            while process.running:
                process.running.pop()[1].settle(1)
            await self.flush(process)
            process.counts.tell()
            with suppress(BudgetSpent, StoreUnavailable):  # whoever opens a board that is spoilt has all others wait
                (await process.reserve(CLIENTS[0], 0)).settle(0)
            process.counts.limiter.mark()
        await asyncio.sleep(0)
        self.seconds += 1 + SETTLING
        for process in self.processes:
            await process.usage.refresh()
            for client in CLIENTS:
                sure = max(0, self.left(client) - self.unsure[client.account])
                (await process.reserve(client, sure)).settle(0)
                assert not process.counts.limiter._turns.shares.get(client.account, ())


@asynccontextmanager
async def machine(*, private: bool) -> AsyncIterator[Machine]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        machine = Machine(folder / "db", private=private)
        machine.processes = [await machine.process() for _ in range(1 if private else 3)]
        try:
            yield machine
        finally:
            for process in machine.processes:
                process.counts.limiter.close()
                await process.database.close()


QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("private", [True, False], ids=["alone", "three processes"])
@QUICK
@given(schedule=steps(*COMMON))
def test_a_budget_is_never_overspent_and_never_refuses_without_need(private: bool, schedule: list[Step]) -> None:
    async def drive() -> None:
        async with machine(private=private) as here:
            for step in schedule:
                await here.step(*step, exact=True)
                await asyncio.sleep(0)  # what is settled is told to the others before anything else is done
            await here.end_all()

    asyncio.run(drive())


@QUICK
@given(schedule=steps(*COMMON, *HARM))
def test_nobody_who_is_killed_late_or_loses_the_board_makes_a_budget_overspent(schedule: list[Step]) -> None:
    async def drive() -> None:
        async with machine(private=False) as here:
            for step in schedule:
                await here.step(*step, exact=False)
            await here.end_all()

    asyncio.run(drive())


OF_MANY = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["add", "flush", "refresh"])), max_size=40)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=OF_MANY)
def test_processes_that_share_a_database_agree_once_all_have_written_and_looked(steps: list[tuple[int, str]]) -> None:
    async def drive(path: Path) -> None:
        async with ledger_at(path) as (one, _), ledger_at(path) as (two, _), ledger_at(path) as (three, _):
            ledgers, client, total = (one, two, three), CLIENTS[0], 0
            for number, (which, what) in enumerate(steps):
                match what:
                    case "add":
                        ledgers[which].add(ended(client, 2 ** number))
                        total += 2 ** number
                    case "flush":
                        await ledgers[which].flush()
                    case "refresh":
                        await ledgers[which].refresh()
                assert all([await ledger.usage.spent(client) <= total for ledger in ledgers])
            for ledger in ledgers:
                await ledger.flush()
            for ledger in ledgers:
                await ledger.refresh()
            assert [await ledger.spent(client) for ledger in ledgers] == [total] * 3

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(drive(Path(folder) / "db"))
