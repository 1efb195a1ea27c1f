"""Budgets that several processes share, told step by step: what each of them knows, and what the others make of it."""
import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aioapp.callers import Caller
from aioapp.money import NANO
from aioapp.errors import BadRequest, BudgetSpent, StoreUnavailable
from aioapp.store.embedded.limiter import Limiter
from aioapp.store.embedded.board.board import PrivateBoard
from aioapp.store.embedded.board.board import ACCOUNTS
from aioapp.store.embedded.board.directory import REACH, SETTLING, Directory, key_of
from aioapp.store.embedded.board.file import NAME, SharedBoard
from aioapp.store.embedded.board.purse import SIZE, TOP, WRITTEN, Purse, Stale
from tests.generations import Accounts, DOLLAR, Clock, ended, hold, ledger_at, with_budget

CENT = NANO // 100


@dataclass
class Books:
    """What each process of a machine has of the books; and its clocks, which the machine has."""

    folder: Path
    stack: AsyncExitStack
    clock: Clock
    seconds: float = 1000.0

    async def open(self) -> tuple[Accounts, Limiter]:
        limiter = Limiter(lambda: SharedBoard(self.folder / "limits", poll=0.0), clock=lambda: self.seconds)
        ledger, _ = await self.stack.enter_async_context(
            ledger_at(self.folder / "db", clock=self.clock, limiter=limiter))
        self.stack.callback(limiter.close)
        return ledger, limiter

    def change(self, statement: str) -> None:
        """From outside, as an administrator might."""
        with closing(sqlite3.connect(self.folder / "db")) as connection, connection:
            connection.execute(statement)


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    async with AsyncExitStack() as stack:
        yield Books(tmp_path, stack, Clock())


async def left(ledger: Accounts, client: Caller = DOLLAR) -> int:
    """Whole cents that can be set aside."""
    assert client.budget is not None
    for cents in range(client.budget.nanodollars // CENT, -1, -1):
        try:
            (await hold(ledger, client, cents * CENT)).settle(0)
        except BudgetSpent:
            continue
        await asyncio.sleep(0)  # the others are told
        return cents
    return -1


def spend(ledger: Accounts, cents: int, client: Caller = DOLLAR) -> None:
    ledger.add(ended(client, cents * CENT))


async def test_what_one_process_holds_spends_and_writes_is_less_for_the_others_at_each_moment(books: Books) -> None:
    (one, one_limiter), (other, _) = await books.open(), await books.open()
    running = await hold(one, DOLLAR, 60 * CENT)
    one_limiter.mark()
    assert await left(other) == 40
    running.settle(1)
    spend(one, 50)
    one_limiter.mark()
    assert await left(other) == 50
    await one.flush()
    one_limiter.mark()
    assert await left(other) == 50
    await other.refresh()
    assert await left(one) == await left(other) == 50


async def test_a_process_that_begins_late_knows_what_was_spent_before_it_could_look(books: Books) -> None:
    one, limiter = await books.open()
    spend(one, 30)
    await one.flush()
    spend(one, 30)
    limiter.mark()
    late, _ = await books.open()
    assert await left(late) == 40


async def test_what_is_changed_by_hand_counts_once_it_was_read(books: Books) -> None:
    (one, _), (other, _) = await books.open(), await books.open()
    spend(one, 30)
    await one.flush()
    assert await left(one) == await left(other) == 70
    for cents in (80, 10):  # more, and less, as after a backup was restored
        books.change(f"UPDATE spent SET nanodollars = {cents * CENT}")
        await other.refresh()
        assert await left(other) == await left(one) == 100 - cents


async def test_a_look_that_is_older_than_a_write_takes_nothing_back(books: Books) -> None:
    (one, limiter), (other, _) = await books.open(), await books.open()
    assert await left(other) == await left(one) == 100
    await other.refresh()  # it reads that nothing is spent
    spend(one, 70)
    await one.flush()
    limiter.mark()
    assert await left(other) == 30


async def test_a_new_day_begins_with_all_of_the_budget_in_each_process(books: Books) -> None:
    books.clock.now = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    (one, _), (other, _) = await books.open(), await books.open()
    monthly = with_budget(NANO, name="monthly", per="month")
    for client in (DOLLAR, monthly):
        spend(one, 100, client)
    await one.flush()
    assert [await left(ledger, client) for ledger in (one, other) for client in (DOLLAR, monthly)] == [0] * 4
    books.clock.now += timedelta(seconds=1)
    assert [await left(ledger, client) for ledger in (other, one) for client in (DOLLAR, monthly)] == [100] * 4


async def test_a_budget_that_is_changed_to_the_month_counts_what_the_month_has_cost(books: Books) -> None:
    one, _ = await books.open()
    spend(one, 30)
    await one.flush()
    books.clock.now += timedelta(days=1)
    spend(one, 20)
    await one.flush()
    assert await left(one) == 80
    assert await left(one, with_budget(NANO, per="month")) == 50
    assert await left(one, with_budget(NANO // 2)) == 30
    assert await left(one) == 80


async def killed(ledger: Accounts, limiter: Limiter) -> None:
    """As by a signal: its locks are the kernel's again, and nothing of it is settled."""
    limiter.mark()
    table = limiter._turns._directory
    assert table is not None
    table.board.close()


async def test_what_a_killed_process_held_is_free_and_what_it_had_spent_is_not(books: Books) -> None:
    (one, limiter), (other, _) = await books.open(), await books.open()
    await hold(one, DOLLAR, 50 * CENT)
    spend(one, 20)
    limiter.mark()
    assert await left(other) == 30
    await killed(one, limiter)
    assert await left(other) == 80
    books.clock.now += timedelta(days=1)
    assert await left(other) == 100


async def test_what_was_written_right_before_the_kill_is_counted_once(books: Books) -> None:
    (one, limiter), (other, _) = await books.open(), await books.open()
    assert await left(one) == await left(other) == 100
    spend(one, 20)
    limiter.mark()
    books.change("INSERT INTO spent VALUES ('2026-11-23', 'web', 200000000)")  # its write, of which it told nobody
    await other.refresh()
    assert await left(other) == 80
    await killed(one, limiter)
    assert await left(other) == 80
    await other.refresh()
    assert await left(other) == 80


def gone(file: Path) -> None:
    file.unlink()


def with_its_folder(file: Path) -> None:
    for one in file.parent.iterdir():
        one.unlink()
    file.parent.rmdir()


def noise(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"noise" * 1000)


@pytest.mark.parametrize("harm", [gone, with_its_folder, noise])
async def test_a_board_that_is_lost_is_told_anew_what_each_holds_before_anybody_may_spend(
        books: Books, harm: Callable[[Path], None]) -> None:
    (one, one_limiter), (other, other_limiter) = await books.open(), await books.open()
    running = await hold(one, DOLLAR, 30 * CENT)
    await hold(other, DOLLAR, 20 * CENT)
    spend(other, 15)
    other_limiter.mark()
    harm(books.folder / "limits" / NAME)
    with pytest.raises(StoreUnavailable, match="counted anew"):
        await hold(other, DOLLAR, 1)
    books.seconds += SETTLING
    one_limiter.mark()  # it does so twice a second
    books.seconds += SETTLING + 1
    assert await left(other) == await left(one) == 35
    running.settle(0)
    assert await left(one) == 65


async def test_who_comes_first_to_a_board_that_was_lost_without_having_had_it_waits_for_the_others(
        books: Books) -> None:
    (one, one_limiter), (fresh, _) = await books.open(), await books.open()
    await hold(one, DOLLAR, 90 * CENT)
    (books.folder / "limits" / NAME).unlink()
    with pytest.raises(StoreUnavailable, match="counted anew"):
        await hold(fresh, DOLLAR, 20 * CENT)
    one_limiter.mark()
    books.seconds += SETTLING + 1
    assert await left(fresh) == 10


async def test_where_the_board_cannot_be_used_a_budget_is_closed_and_other_keys_are_not(books: Books) -> None:
    (books.folder / "limits").write_text("a file")
    ledger, _ = await books.open()
    with pytest.raises(StoreUnavailable):
        await hold(ledger, DOLLAR, 0)
    await hold(ledger, Caller(name="free", known=True), 10**30)
    spend(ledger, 1)  # what was going on is settled later
    (books.folder / "limits").unlink()
    assert await left(ledger) == 99


async def test_an_account_for_which_there_is_no_place_has_no_budget_to_spend(tmp_path: Path) -> None:
    limiter = Limiter(PrivateBoard, clock=lambda: 1000.0)
    home, names = key_of(DOLLAR.account)[0] % ACCOUNTS, iter(range(10**9))
    crowd = (name for name in map(str, names) if (key_of(f"key:{name}")[0] - home) % ACCOUNTS < REACH)
    async with ledger_at(tmp_path / "db", limiter=limiter) as (ledger, _):
        for _ in range(3 * REACH):
            with suppress(StoreUnavailable):
                await hold(ledger, with_budget(NANO, name=next(crowd)), 1)
        with pytest.raises(StoreUnavailable, match="Too many accounts"):
            await hold(ledger, DOLLAR, 1)


async def test_the_greatest_budget_there_can_be_is_counted_to_the_last_nanodollar(books: Books) -> None:
    most = with_budget(10**18)
    (one, _), (other, _) = await books.open(), await books.open()
    running = await hold(one, most, 10**18 - 1)
    with pytest.raises(BudgetSpent):
        await hold(other, most, 2)
    (await hold(other, most, 1)).settle(0)
    await asyncio.sleep(0)
    with pytest.raises(BadRequest):
        await hold(other, most, 10**30)
    running.settle(0)
    books.change(f"INSERT INTO spent VALUES ('2026-11-23', 'web', {2**63 - 1})")
    await other.refresh()
    with pytest.raises(BudgetSpent):
        await hold(other, most, 0)


def test_who_looked_before_a_place_was_given_to_another_account_knows_too_little_of_it() -> None:
    table = Directory(PrivateBoard(), clock=lambda: 1000.0)
    before = table.mark()
    account = table.account("key:one", 1000)
    account.purse.wrote(5, day="2026-11-23", moment=table.next_moment())
    for name in ("key:other", "key:one"):
        account.begin(key_of(name), 1000)
    with pytest.raises(Stale):
        account.purse.learn("2026-11-23", 0, as_of=table.number(before))
    account.purse.learn("2026-11-23", 5, as_of=table.number(table.mark()))
    assert account.purse.spent == 5


def test_a_purse_holds_more_than_any_budget_and_never_more_than_a_word() -> None:
    words = memoryview(bytearray(8 * SIZE)).cast("q")
    purse = Purse(words, 0)
    purse.learn("2026-11-23", 2**80, as_of=0)
    for _ in range(3):
        purse.wrote(10**18, day="2026-11-23", moment=1)
        purse.lose(TOP)
    assert words[WRITTEN] == TOP and purse.spent == 2 * TOP
    with pytest.raises(Stale):
        purse.learn("2026-11-24", 5, as_of=0)
    purse.learn("2026-11-24", -5, as_of=1)
    assert purse.spent == 0


async def test_all_who_wait_for_a_newer_look_have_the_database_read_once(books: Books) -> None:
    ledger, _ = await books.open()
    said: list[str] = []
    await ledger.database.read(lambda connection: connection.set_trace_callback(said.append))
    await asyncio.gather(*[hold(ledger, DOLLAR, 1) for _ in range(20)])
    assert sum("data_version" in statement for statement in said) == 1
    await hold(ledger, DOLLAR, 1)
    assert sum("data_version" in statement for statement in said) == 1
