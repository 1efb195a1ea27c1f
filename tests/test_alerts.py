"""Each alert is sent once, whichever process sees it first, and again until it is taken or given up."""
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aioapp.alerts import budget_watch, memory_outbox
from aioapp.alerts.alert import Alert, Claim, Outbox
from aioapp.alerts.budget_watch import BudgetWatch
from aioapp.alerts.credentials_watch import QUIET, CredentialsWatch
from aioapp.alerts.database_watch import DatabaseWatch
from aioapp.alerts.delivery import DELAYS, LEASE, Delivery
from aioapp.alerts.memory_outbox import MemoryOutbox
from aioapp.alerts.watch import watch
from aioapp.callers import EVERYBODY, Budget, Caller, everybody
from aioapp.errors import BudgetSpent, CredentialsRefused, ServerBudgetSpent, StoreUnavailable
from aioapp.money import NANO
from aioapp.store.embedded.alerts import MOST_WAITING, EmbeddedAlerts
from aioapp.store.embedded.database import Database
from aioapp.webhooks.sender import open_sender
from tests.generations import Clock, ended, with_budget
from tests.receivers import KEY, broken, receiver, taken

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
TEN = with_budget(10 * NANO)
ALL = everybody(Budget(nanodollars=100 * NANO, per="month"))


@asynccontextmanager
async def store_at(path: Path) -> AsyncIterator[EmbeddedAlerts]:
    database = Database(path, create=True)
    try:
        yield EmbeddedAlerts(database, path)
    finally:
        await database.close()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedAlerts, EmbeddedAlerts]]:
    """What two processes have of one database."""
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(store_at(tmp_path / "db")) for _ in range(2)]
        yield one, other


async def waiting(store: EmbeddedAlerts, at: datetime = AT) -> list[dict[str, Any]]:
    """Take all that is due."""
    found = []
    while (message := await store.take(at=at, until=at + timedelta(days=400))) is not None:
        found.append(json.loads(message.body))
    return found


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


def alert(kind: str = "t", *, subject: str = "", period: str = "p", at: datetime = AT) -> Alert:
    return Alert(claim=Claim(kind, subject, period), at=at, kept_until=at + timedelta(days=1), data={})


# Budgets.

@dataclass
class Spending:
    """A process that looks after budgets, and what everybody has spent as far as it knows."""

    watch: BudgetWatch
    sums: dict[tuple[str, str], int]
    callers: list[Caller]
    clock: Clock


def spending(store: EmbeddedAlerts, *callers: Caller) -> Spending:
    sums, clock, held = dict[tuple[str, str], int](), Clock(), list(callers)
    return Spending(
        BudgetWatch(store, callers=lambda: held, sums=lambda: sums, clock=clock), sums, held, clock)


@pytest.mark.parametrize(("spent", "told"), [
    (7.99, []), (8, ["key.budget.near"]), (9.99, ["key.budget.near"]),
    (10, ["key.budget.near", "key.budget.spent"]), (12, ["key.budget.near", "key.budget.spent"])])
async def test_a_budget_is_told_of_at_four_fifths_and_at_its_end(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts], spent: float, told: list[str]) -> None:
    one = spending(pair[0], TEN)
    one.sums["web", "2026-11-23"] = round(spent * NANO)
    for _ in range(2):
        await one.watch.look()
    assert types(await waiting(pair[0])) == told


async def test_what_is_told_names_the_key_the_budget_and_what_is_spent_of_it(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    one = spending(pair[0], TEN, ALL)
    one.sums.update({("web", "2026-11-23"): 8 * NANO, (EVERYBODY, "2026-11"): 95 * NANO})
    await one.watch.look()
    budget = {"usd": 10.0, "per": "day", "strict": False}
    assert await waiting(pair[0]) == [
        {"type": "key.budget.near", "timestamp": "2026-11-23T12:00:00.000000+00:00", "data": {
            "key": "web", "budget": budget, "spent_usd": 8.0, "percent": 80,
            "renews_at": "2026-11-24T00:00:00+00:00"}},
        {"type": "server.budget.near", "timestamp": "2026-11-23T12:00:00.000000+00:00", "data": {
            "budget": {"usd": 100.0, "per": "month", "strict": False}, "spent_usd": 95.0, "percent": 95,
            "renews_at": "2026-12-01T00:00:00+00:00"}}]


async def test_processes_and_those_after_them_tell_it_once_a_period_and_budget(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    told = []
    for store in (*pair, pair[0]):  # the last is one that was started anew
        process = spending(store, TEN)
        process.sums["web", "2026-11-23"] = 9 * NANO
        await process.watch.look()
        told += await waiting(pair[0])
    assert types(told) == ["key.budget.near"]
    process.callers[0] = with_budget(11 * NANO)
    await process.watch.look()
    process.clock.now += timedelta(days=1)
    process.sums["web", "2026-11-24"] = 11 * NANO
    await process.watch.look()
    tomorrow = AT + timedelta(days=1)
    assert types(await waiting(pair[0], tomorrow)) == ["key.budget.near", "key.budget.near", "key.budget.spent"]


async def test_a_budget_that_has_too_little_left_is_told_of_as_soon_as_a_call_is_refused(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    one = spending(pair[0], TEN, ALL)
    for error in (BudgetSpent.title, ServerBudgetSpent.title, "Bad request"):
        one.watch.see(ended(TEN, outcome="failed", error=error))
        await one.watch.look()
        one.watch.see(ended(TEN, outcome="failed", error=error))
        await one.watch.look()
    assert types(await waiting(pair[0])) == ["key.budget.refused", "server.budget.refused"]


async def test_what_cannot_be_claimed_now_is_claimed_later(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts], tmp_path: Path) -> None:
    one = spending(pair[0], TEN)
    held = [alert(f"t{number}") for number in range(MOST_WAITING)]
    await pair[0].claim(held)
    one.watch.see(ended(TEN, outcome="failed", error=BudgetSpent.title))
    (tmp_path / "db").rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable):
        await one.watch.look()
    (tmp_path / "away").rename(tmp_path / "db")
    await one.watch.look()  # too many wait
    assert await pair[0].claim([alert("one more"), held[0]]) == {held[0].claim}
    await pair[0].postpone(held[0].id, None)
    await one.watch.look()
    assert sorted(types(await waiting(pair[0])))[0] == "key.budget.refused"


async def test_a_thousand_keys_are_told_of_in_turns(pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    callers = [with_budget(NANO, name=f"key{number}") for number in range(budget_watch.MOST + 300)]
    one = spending(pair[0], *callers)
    one.sums.update({(caller.name, "2026-11-23"): NANO * 8 // 10 for caller in callers})
    for _ in range(5):
        await one.watch.look()
    assert types(await waiting(pair[1])) == ["key.budget.near"] * len(callers)


# Credentials.

class Calls:
    """A process whose callers' calls end well, or by Claude's refusal of the credentials."""

    def __init__(self, store: EmbeddedAlerts) -> None:
        self.now = 1000.0
        self.watch = CredentialsWatch(store, described=lambda: {"source": "s"}, clock=lambda: self.now)

    async def end(self, *, well: bool, at: float) -> None:
        self.now = at
        generation = ended() if well else ended(outcome="failed", error=CredentialsRefused.title)
        generation.meter.ask()
        self.watch.see(generation)
        await self.watch.look()


async def told_of(store: EmbeddedAlerts) -> list[str]:
    return types(await waiting(store, datetime.now(UTC) + timedelta(hours=1)))


async def test_credentials_are_told_of_when_they_are_refused_and_when_they_are_taken_again(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    one, other = Calls(pair[0]), Calls(pair[1])
    await one.end(well=True, at=1000)
    assert await told_of(pair[0]) == []
    for number in range(3):
        await one.end(well=False, at=1001 + number)
        await other.end(well=False, at=1001.5 + number)
    assert await told_of(pair[0]) == ["credentials.refused"]
    await Calls(pair[0]).end(well=False, at=1010)  # one that was started anew
    assert await told_of(pair[0]) == []
    await other.end(well=True, at=1020)
    await one.end(well=True, at=1021)
    assert await told_of(pair[0]) == ["credentials.usable"]


async def test_a_refusal_from_before_the_end_begins_no_second_outage(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    one, other = Calls(pair[0]), Calls(pair[1])
    await one.end(well=False, at=1000)
    await one.end(well=True, at=1002)
    assert await told_of(pair[0]) == ["credentials.refused", "credentials.usable"]
    await other.end(well=False, at=1001)
    assert await told_of(pair[0]) == []


async def test_of_processes_that_see_an_outage_begin_or_end_one_tells_it(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    for number, store in enumerate(pair):
        await store.begin("c", alert("refused", period=f"{number}"), at=1000 + number)
    for number, store in enumerate(pair):
        await store.end("c", alert("usable", period=f"{number}"), at=1010 + number)
    for number, at in enumerate((1010, 1009, 1011), 2):  # the last one is after the end
        await pair[0].begin("c", alert("refused", period=f"{number}"), at=at)
    assert types(await waiting(pair[0])) == ["refused", "usable", "refused"]
    assert await pair[1].outage("c") == (1011, None) and await pair[1].outage("d") is None


async def test_claude_that_takes_one_call_and_refuses_the_next_is_told_of_now_and_then(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    one = Calls(pair[0])
    for number in range(20):
        await one.end(well=number % 2 == 1, at=1000 + number)
    assert await told_of(pair[0]) == ["credentials.refused", "credentials.usable"]
    await one.end(well=False, at=1002 + QUIET)
    assert await told_of(pair[0]) == ["credentials.refused"]


# The database.

class Processes:
    """Two that see the same trouble, in their own time."""

    def __init__(self, *stores: EmbeddedAlerts) -> None:
        self.now, self.trouble, self.stores = 0.0, dict[int, str | None](), stores
        self.memories = [MemoryOutbox() for _ in stores]
        self.watches = [self.watch(number) for number in range(len(stores))]

    def watch(self, number: int) -> DatabaseWatch:
        return DatabaseWatch(self.stores[number], self.memories[number], monotonic=lambda: self.now, patience=3.0,
                             trouble=lambda: self.trouble.get(number))

    async def look(self, now: float, *trouble: str | None) -> None:
        self.now, self.trouble = now, dict(enumerate(trouble))
        for one in self.watches:
            await one.look()

    async def told(self) -> list[tuple[str, str]]:
        """Type and id of all that is sent now, by either."""
        found = []
        outboxes: list[Outbox] = [*self.memories, self.stores[0]]
        for outbox in outboxes:
            later = datetime.now(UTC) + timedelta(hours=1)
            while (message := await outbox.take(at=later, until=later + timedelta(days=1))) is not None:
                found.append((json.loads(message.body)["type"], message.id))
                await outbox.postpone(message.id, None)
        return found


async def test_a_database_that_is_lost_is_told_of_once_and_once_when_it_is_found(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    both = Processes(*pair)
    for now, trouble in ((0, None), (1, "gone"), (2, None), (3, "gone"), (5.9, "gone")):
        await both.look(now, trouble, trouble)
    assert await both.told() == []
    for now in (6.0, 7.0, 60.0):
        await both.look(now, "gone", "gone")
    assert [kind for kind, _ in await both.told()] == ["database.lost"]
    both.watches[0] = both.watch(0)  # started anew meanwhile
    for now in (61.0, 65.0):
        await both.look(now, "gone", "gone")
    assert await both.told() == []
    for now in (66.0, 67.0):
        await both.look(now, None, None)
    assert [kind for kind, _ in await both.told()] == ["database.found"]
    for now in (70.0, 73.0, 74.0):
        await both.look(now, None if now > 73 else "gone", None)
    assert [kind for kind, _ in await both.told()] == ["database.lost", "database.found"]


async def test_a_database_whose_folder_was_put_back_as_it_was_is_told_of_too(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts], tmp_path: Path) -> None:
    both = Processes(*pair)
    for now, trouble in ((0, None), (1, "gone"), (5, "gone")):
        await both.look(now, trouble, trouble)
    (tmp_path / "db-lost").unlink()
    await both.look(6, None, None)
    assert [kind for kind, _ in await both.told()] == ["database.lost", "database.found"]


async def test_where_not_even_a_file_can_be_written_all_tell_it_under_one_id(tmp_path: Path) -> None:
    database = Database(tmp_path / "db", create=True)
    try:
        stores = [EmbeddedAlerts(database, tmp_path / "nowhere" / "db") for _ in range(2)]
        both = Processes(*stores)
        for now in (0.0, 3.0):
            await both.look(now, "gone", "gone")
        told = await both.told()
        assert [kind for kind, _ in told] == ["database.lost"] * 2 and len(set(told)) == 1
        await both.look(4.0, None, None)
        assert [kind for kind, _ in await both.told()] == ["database.found"]
    finally:
        await database.close()


# Delivery.

async def test_an_alert_is_sent_until_it_is_taken_always_under_its_id(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    memory, clock, delays = MemoryOutbox(), Clock(AT), DELAYS
    await pair[0].claim([alert("kept")])
    memory.put(alert("held"))
    async with receiver() as to, open_sender(to.url, secret=KEY) as send:
        one, other = Delivery(memory, pair[0], send=send, clock=clock), Delivery(pair[1], send=send, clock=clock)
        to.answer_by(broken, broken, taken)
        await asyncio.gather(one.round(), other.round())
        assert sorted(to.types) == ["held", "kept"]
        await other.round()
        clock.now += timedelta(seconds=delays[0] - 0.001)
        await asyncio.gather(one.round(), other.round())
        assert len(to.types) == 2
        for _ in range(2):
            clock.now += LEASE
            await asyncio.gather(one.round(), other.round())
        assert sorted(to.types) == ["held", "held", "kept", "kept"]
        assert len({message["id"] for message in to.messages}) == 2


async def test_a_receiver_that_was_down_gets_it_once_it_is_up_and_one_that_stays_down_is_given_up(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts], caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock(AT)
    async with receiver() as to:
        pass
    async with open_sender(to.url, secret=KEY) as send:
        delivery = Delivery(pair[0], send=send, clock=clock, delays=(1, 5))
        await pair[0].claim([alert("first")])
        await delivery.round()
        port = int(to.url.split(":")[2].split("/")[0])
        again = await asyncio.start_server(to.server.serve, "127.0.0.1", port)
        try:
            clock.now += timedelta(seconds=1)
            await delivery.round()
            assert to.types == ["first"]
            to.answer_by(broken)
            await pair[0].claim([alert("second", at=clock.now)])
            for _ in range(5):
                await delivery.round()
                clock.now += timedelta(hours=1)
            assert to.types == ["first", *["second"] * 3]
        finally:
            again.close()
            await to.server.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "WARNING", "ERROR"]
    assert "127.0.0.1" not in caplog.text


async def test_who_is_killed_before_it_is_noted_leaves_it_to_be_sent_again(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    await pair[0].claim([alert()])
    first = await pair[0].take(at=AT, until=AT + LEASE)
    assert await pair[1].take(at=AT + LEASE / 2, until=AT + LEASE) is None
    second = await pair[1].take(at=AT + LEASE, until=AT + 2 * LEASE)
    assert first is not None and second is not None and first.id == second.id


async def test_what_was_sent_is_forgotten_after_a_while_and_what_waits_is_not(
        pair: tuple[EmbeddedAlerts, EmbeddedAlerts]) -> None:
    sent, held = alert("sent"), alert("held")
    await pair[0].claim([sent, held])
    await pair[0].postpone(sent.id, None)
    await pair[0].claim([alert("new", at=AT + timedelta(days=2))])
    assert await pair[0].claim([sent]) == {sent.claim}
    assert sorted(types(await waiting(pair[0], AT + timedelta(days=2)))) == ["held", "new", "sent"]


async def test_the_outbox_in_memory_is_small_and_gives_up_the_oldest() -> None:
    memory = MemoryOutbox()
    for number in range(memory_outbox.MOST + 3):
        memory.put(alert(f"t{number}"))
    found = []
    while (message := await memory.take(at=AT, until=AT + LEASE)) is not None:
        found.append(message.id)
        await memory.postpone(message.id, AT + LEASE)
    assert len(found) == memory_outbox.MOST
    for id in (*found, "unknown"):
        await memory.postpone(id, None)
    assert await memory.take(at=AT + 2 * LEASE, until=AT + 3 * LEASE) is None


async def test_a_look_that_fails_or_hangs_keeps_no_other_from_being_done() -> None:
    done = asyncio.Event()

    async def failing() -> None:
        raise StoreUnavailable()

    async def hanging() -> None:
        await asyncio.Event().wait()

    async def good() -> None:
        done.set()

    task = asyncio.create_task(watch((failing, hanging, good), patience=0.01))
    await asyncio.wait_for(done.wait(), 5)
    task.cancel()
    await asyncio.wait({task})
