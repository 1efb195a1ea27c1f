"""The ledger: what is added is written once, under few names, and what cannot be written harms nobody else."""
import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from aioapp.callers import NOBODY, Caller
from aioapp.errors import BadRequest, BudgetSpent, StoreUnavailable
from aioapp.messages.events import Usage
from aioapp.store.embedded.database import PATIENCE, Database
from aioapp.money import NANO
from tests.generations import (
    DOLLAR, SONNET, WEB, Clock, Written, accounts_on, ended, hold, ledger_at, with_budget, written,
)

USAGE = Usage(input_tokens=1, output_tokens=2, cache_creation_input_tokens=3, cache_read_input_tokens=4)


async def rows(database: Database, query: str) -> list[Any]:
    return await database.read(lambda connection: connection.execute(query).fetchall())


async def test_generations_are_added_up_by_day_key_and_model(tmp_path: Path) -> None:
    clock = Clock()
    async with ledger_at(tmp_path / "db", clock=clock) as (ledger, database):
        for _ in range(2):
            ledger.add(ended(nanodollars=10, usage=USAGE))
            ledger.add(ended(nanodollars=5, outcome="failed", error="Claude is overloaded"))
            await ledger.flush()
        ledger.add(ended(outcome="cancelled", model="claude-opus-5-5"))
        ledger.add(ended(NOBODY))
        clock.now += timedelta(days=1)
        ledger.add(ended())
        await ledger.flush()
        assert await rows(database, "SELECT * FROM usage ORDER BY day, key, model") == [
            ("2026-11-23", "", SONNET, 1, 0, 0, 0, 0, 0, 0, 0, 2.0),
            ("2026-11-23", "web", "claude-opus-5-5", 1, 0, 1, 0, 0, 0, 0, 0, 2.0),
            ("2026-11-23", "web", SONNET, 4, 2, 0, 2, 4, 6, 8, 30, 8.0),
            ("2026-11-24", "web", SONNET, 1, 0, 0, 0, 0, 0, 0, 0, 2.0)]


async def test_a_generation_belongs_to_the_utc_day_on_which_it_ended(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 11, 24, 1, 30, tzinfo=timezone(timedelta(hours=2))))
    async with ledger_at(tmp_path / "db", clock=clock) as (ledger, database):
        ledger.add(ended())
        await ledger.flush()
        assert await rows(database, "SELECT day FROM usage") == [("2026-11-23",)]
        assert await rows(database, "SELECT at FROM requests") == [("2026-11-23T23:30:00.000+00:00",)]


async def test_only_the_latest_generations_are_kept_one_by_one(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        for start, end in ((0, 6_000), (6_000, 10_500)):
            for number in range(start, end):
                ledger.add(ended(request_id=str(number)))
            await ledger.flush()
        found = await written(database)
    assert found.names == [str(number) for number in range(500, 10_500)]
    assert found.requests == 10_500


async def test_a_prompt_is_kept_only_where_that_is_wanted(tmp_path: Path) -> None:
    for kept, expected in ((False, None), (True, "canary")):
        async with ledger_at(tmp_path / f"db-{kept}", keep_prompts=kept) as (ledger, database):
            ledger.add(ended(text="canary"))
            await ledger.flush()
            assert await rows(database, "SELECT prompt FROM requests") == [(expected,)]


async def test_nothing_that_callers_or_claude_say_keeps_the_rest_from_being_written(tmp_path: Path) -> None:
    nonsense: Any = {"a": 1}
    async with ledger_at(tmp_path / "db", keep_prompts=True) as (ledger, database):
        ledger.add(ended(asked="\ud800" * 999, model=None, text="\udfff\0"))
        ledger.add(ended(model="\ud800'; DROP TABLE usage; --", usage=Usage(2**80, -5, True, 2**63)))
        ledger.add(ended(model=nonsense, nanodollars=2**80))
        ledger.add(ended(nanodollars=-5, request_id="last"))
        await ledger.flush()
        await hold(ledger, WEB, 1)
        assert (await written(database)).requests == 4
        [(least, most)] = await rows(database, "SELECT min(input_tokens), max(nanodollars) FROM requests")
    assert least == 0 and 0 < most < 2**60


async def test_names_that_callers_make_up_do_not_make_rows(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        for number in range(1000):
            ledger.add(ended(asked=f"made-up-{number}", model=None, outcome="failed"))
        await ledger.flush()
        assert await rows(database, "SELECT model, requests, failed FROM usage") == [("other", 1000, 1000)]


async def test_a_gateway_that_answers_under_any_name_makes_no_endless_rows(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        for number in range(1000):
            ledger.add(ended(asked=f"made-up-{number}", model=f"made-up-{number}"))
        await ledger.flush()
        assert await rows(database, "SELECT count(*), sum(requests) FROM usage") == [(257, 1000)]


async def test_a_call_that_no_model_answered_counts_for_the_one_that_last_did(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        ledger.add(ended(asked="claude-opus-5-5", model="claude-opus-5-5-20261001"))
        ledger.add(ended(asked="claude-opus-5-5", model=None, outcome="failed"))
        await ledger.flush()
        assert await rows(database, "SELECT model, requests FROM usage") == [("claude-opus-5-5-20261001", 2)]


async def test_it_writes_by_itself_within_a_second(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database), asyncio.timeout(5):
        running = asyncio.create_task(ledger.run())
        for _ in range(2):
            ledger.add(ended())
            began = asyncio.get_running_loop().time()
            before = (await written(database)).requests
            while (await written(database)).requests == before:
                await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() - began < 1.0
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.parametrize("locked", [0.0, PATIENCE + 0.2])
async def test_who_is_stopped_while_it_writes_loses_nothing_and_writes_nothing_twice(
        tmp_path: Path, locked: float,
) -> None:
    """The write may yet succeed, or fail, after nobody waits for it any more."""
    async with ledger_at(tmp_path / "db") as (ledger, database):
        other = sqlite3.connect(tmp_path / "db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ledger.add(ended(nanodollars=3, request_id="under way"))
        writing = asyncio.create_task(ledger.flush())
        await asyncio.sleep(0.1)
        ledger.add(ended(nanodollars=4, request_id="after"))
        writing.cancel()
        await asyncio.wait({writing})
        assert writing.cancelled()
        await asyncio.sleep(locked)
        other.execute("COMMIT")
        other.close()
        await ledger.close()
        assert await written(database) == Written(["under way", "after"], 2, 7)
        assert await ledger.spent(DOLLAR) == 7


async def test_what_is_lost_at_the_end_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, _):
        (tmp_path / "db").unlink()
        ledger.add(ended())
        ledger.add(ended())
        await ledger.close()
    assert "2 generations could not be accounted for" in caplog.text


async def test_a_ledger_that_never_read_its_sums_lets_no_budget_be_spent(tmp_path: Path) -> None:
    database = Database(tmp_path / "none" / "db", create=False)
    ledger = accounts_on(database)
    await ledger.refresh()
    with pytest.raises(StoreUnavailable):
        await hold(ledger, DOLLAR, 1)
    await hold(ledger, WEB, 1)  # accounts are all that it could harm, and nothing is known to be wrong with them
    (tmp_path / "none").mkdir()
    Database(tmp_path / "none" / "db", create=True)._open().close()
    await ledger.refresh()
    await hold(ledger, DOLLAR, 1)
    await database.close()


async def test_a_budget_refuses_what_may_exceed_it_and_says_what_is_left(tmp_path: Path) -> None:
    five = with_budget(5 * NANO)
    async with ledger_at(tmp_path / "db") as (ledger, _):
        ledger.add(ended(five, 4_986_799_999))
        with pytest.raises(BudgetSpent) as refused:
            await hold(ledger, five, 40_900_001)
        assert refused.value.detail == ("$0.0132 of $5.00 a day are left and this may cost $0.0410; "
                                        "the budget renews on 2026-11-24T00:00:00+00:00.")
        await hold(ledger, five, 13_200_001)
        with pytest.raises(BudgetSpent) as refused:
            await hold(ledger, five, 1)
        assert refused.value.detail == ("$5.00 a day are spent or set aside for running requests; "
                                        "the budget renews on 2026-11-24T00:00:00+00:00.")


@pytest.mark.parametrize("spent", [0, NANO])
async def test_what_no_budget_would_ever_allow_is_a_bad_request(tmp_path: Path, spent: int) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, _):
        ledger.add(ended(DOLLAR, spent))
        with pytest.raises(BadRequest) as refused:
            await hold(ledger, DOLLAR, NANO + 1)
    assert refused.value.detail == ("This may cost $1.0001, and the key's whole budget is $1.00 a day: "
                                    "lower max_tokens, or choose a cheaper model.")


async def test_a_budget_that_is_spent_says_when_it_renews(tmp_path: Path) -> None:
    client = with_budget(1_234_500_000, per="month")
    async with ledger_at(tmp_path / "db") as (ledger, _):
        ledger.add(ended(client, 1_300_000_000))
        with pytest.raises(BudgetSpent) as refused:
            await hold(ledger, client, 0)
    assert refused.value.detail == "$1.2345 a month are spent; the budget renews on 2026-12-01T00:00:00+00:00."


async def test_a_budget_renews_with_its_period(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC))
    daily, monthly = with_budget(NANO), with_budget(NANO, per="month")
    async with ledger_at(tmp_path / "db", clock=clock) as (ledger, _):
        ledger.add(ended(nanodollars=NANO))
        assert (await ledger.spent(daily), await ledger.spent(monthly)) == (NANO, NANO)
        clock.now += timedelta(seconds=1)
        assert (await ledger.spent(daily), await ledger.spent(monthly)) == (0, 0)
        (await hold(ledger, daily, NANO)).settle(0)
        (await hold(ledger, monthly, NANO)).settle(0)
        ledger.add(ended(nanodollars=7))
        await ledger.flush()
        await ledger.refresh()
        assert (await ledger.spent(daily), await ledger.spent(monthly)) == (7, 7)
        clock.now += timedelta(days=1)
        await ledger.refresh()
        assert (await ledger.spent(daily), await ledger.spent(monthly)) == (0, 7)


async def test_a_month_budget_counts_days_that_were_written_by_a_process_before(tmp_path: Path) -> None:
    clock = Clock()
    async with ledger_at(tmp_path / "db", clock=clock) as (ledger, _):
        ledger.add(ended(nanodollars=3))
        await ledger.close()
    clock.now += timedelta(days=2)
    async with ledger_at(tmp_path / "db", clock=clock) as (ledger, _):
        assert await ledger.spent(with_budget(NANO, per="month")) == 3
        assert await ledger.spent(with_budget(NANO)) == 0


async def test_a_hold_is_given_back_once(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, _):
        first, second = await hold(ledger, DOLLAR, NANO // 2), await hold(ledger, DOLLAR, NANO // 2)
        first.settle(0)
        first.settle(0)
        with pytest.raises(BudgetSpent):
            await hold(ledger, DOLLAR, NANO // 2 + 1)
        second.settle(0)
        await hold(ledger, DOLLAR, NANO)


async def test_one_keys_spending_is_not_anothers(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, _):
        ledger.add(ended(with_budget(NANO, name="other"), nanodollars=NANO))
        ledger.add(ended(NOBODY, nanodollars=NANO))
        await hold(ledger, DOLLAR, NANO)


async def test_a_client_without_a_budget_holds_nothing(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, _):
        await hold(ledger, Caller(name="web", known=True), 10**18)
        assert await ledger.spent(WEB) == 0
        await hold(ledger, DOLLAR, NANO)


async def test_what_another_process_spent_is_seen_by_the_next_look(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, _), ledger_at(tmp_path / "db") as (other, _):
        for total in (3, 6):
            other.add(ended(nanodollars=3))
            await other.flush()
            await ledger.refresh()
            assert await ledger.spent(DOLLAR) == await other.spent(DOLLAR) == total
        ledger.add(ended(nanodollars=4))
        await other.refresh()
        assert await other.spent(DOLLAR) == 6
        await ledger.flush()
        await other.refresh()
        assert await ledger.spent(DOLLAR) == await other.spent(DOLLAR) == 10


async def test_sums_are_read_again_only_when_another_process_wrote(tmp_path: Path) -> None:
    said: list[str] = []
    async with ledger_at(tmp_path / "db") as (ledger, database), ledger_at(tmp_path / "db") as (other, _):
        await database.read(lambda connection: connection.set_trace_callback(said.append))

        async def reads() -> int:
            said.clear()
            await ledger.refresh()
            return sum("FROM spent" in statement for statement in said)

        ledger.add(ended())
        await ledger.flush()
        assert [await reads(), await reads()] == [0, 0]
        other.add(ended())
        await other.flush()
        assert [await reads(), await reads()] == [1, 0]


async def test_a_database_that_takes_the_place_of_another_is_read_anew(tmp_path: Path) -> None:
    """Its connection may well say the same `data_version` as the one before."""
    async with ledger_at(tmp_path / "new") as (other, _):
        other.add(ended(nanodollars=9))
        await other.close()
    async with ledger_at(tmp_path / "db") as (ledger, _):
        assert await ledger.spent(DOLLAR) == 0
        (tmp_path / "new").replace(tmp_path / "db")
        for leftover in tmp_path.glob("db-*"):
            leftover.unlink()
        await ledger.refresh()
        assert await ledger.spent(DOLLAR) == 9
