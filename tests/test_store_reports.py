"""What the accounts show."""
import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from aioapp.callers import NOBODY
from aioapp.money import NANO
from aioapp.errors import StoreUnavailable
from aioapp.messages.events import Usage
from aioapp.store.embedded import open_store, reports
from aioapp.usage.usage_store import By, Wanted
from aioapp.store.embedded.database import Database
from tests.generations import SONNET, Clock, ended, hold, ledger_at, with_budget, written
from tests.request_pages import latest

FIRST, SECOND, LAST = date(2026, 10, 31), date(2026, 11, 1), date(2026, 11, 23)
OPUS, OTHER = "claude-opus-5-5", with_budget(NANO, name="other")
USAGE = Usage(input_tokens=1, output_tokens=2, cache_creation_input_tokens=3, cache_read_input_tokens=4)


def at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    clock = Clock()
    async with ledger_at(tmp_path / "db", clock=clock) as (ledger, _):
        for day, record in (
                (FIRST, ended(nanodollars=100, usage=USAGE, request_id="1")),
                (SECOND, ended(NOBODY, nanodollars=20, usage=USAGE, request_id="2")),
                (SECOND, ended(nanodollars=1, request_id="3", outcome="failed", error="Conflict", first=None)),
                (LAST, ended(OTHER, nanodollars=NANO // 4, model=OPUS, request_id="4", outcome="cancelled"))):
            clock.now = at(day)
            ledger.add(record)
        await ledger.close()
    return tmp_path / "db"


@pytest.fixture
def database(path: Path) -> Database:
    return Database(path, create=False)


async def test_a_span_is_added_up_with_both_its_ends(database: Database) -> None:
    whole = await database.read(lambda c: reports.total(c, since=FIRST, until=LAST))
    assert whole == {
        "requests": 4, "failed": 1, "cancelled": 1, "input_tokens": 2, "output_tokens": 4,
        "cache_creation_input_tokens": 6, "cache_read_input_tokens": 8, "tokens": 20,
        "cost_usd": 0.250000121, "seconds": 8.0, "refused": 0}
    within = await database.read(lambda c: reports.total(c, since=SECOND, until=LAST - timedelta(days=1)))
    assert (within["requests"], within["cost_usd"]) == (2, 21e-9)
    await database.close()


async def test_a_span_without_generations_has_figures_of_nothing(database: Database) -> None:
    empty = await database.read(lambda c: reports.total(c, since=date(2020, 1, 1), until=date(2020, 1, 1)))
    assert set(empty.values()) == {0} and json.dumps(empty)
    assert await database.read(lambda c: reports.by(c, ["key"], since=LAST, until=FIRST)) == []
    await database.close()


@pytest.mark.parametrize(("column", "expected"), [
    ("day", [("2026-10-31", 1), ("2026-11-01", 2), ("2026-11-23", 1)]),
    ("key", [("other", 1), ("web", 2), ("anonymous", 1)]),
    ("model", [(OPUS, 1), (SONNET, 3)])])
async def test_rows_are_by_day_in_order_and_otherwise_the_dearest_first(
        database: Database, column: By, expected: list[tuple[str, int]],
) -> None:
    rows = await database.read(lambda c: reports.by(c, [column], since=FIRST, until=LAST))
    assert [(row[column], row["requests"]) for row in rows] == expected
    assert sum(row["tokens"] for row in rows) == 20
    await database.close()


async def test_keys_that_cost_the_same_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        for name in ("b", "c", "a"):
            ledger.add(ended(with_budget(1, name=name), 5))
        await ledger.flush()
        rows = await database.read(lambda c: reports.by(c, ["key"], since=LAST, until=LAST))
    assert [row["key"] for row in rows] == ["a", "b", "c"]


async def test_figures_can_be_of_one_key(database: Database) -> None:
    for key, costs in (("web", [100e-9, 1e-9]), ("anonymous", [20e-9]), ("none", []), ("", [20e-9])):
        rows = await database.read(lambda c: reports.by(c, ["day"], since=FIRST, until=LAST, key=key))
        assert [row["cost_usd"] for row in rows] == costs
    await database.close()


async def test_a_key_sees_its_own_figures_and_no_others(database: Database) -> None:
    own = await database.read(lambda c: reports.own(c, "web", today=SECOND))
    assert (own["today"]["requests"], own["month"]["requests"]) == (1, 1)
    assert [(row["day"], row["requests"]) for row in own["days"]] == [("2026-10-31", 1), ("2026-11-01", 1)]
    assert [(row["model"], row["requests"]) for row in own["models"]] == [(SONNET, 2)]
    later = await database.read(lambda c: reports.own(c, "web", today=FIRST + timedelta(days=30)))
    assert [row["day"] for row in later["days"]] == ["2026-11-01"]
    nobody = await database.read(lambda c: reports.own(c, None, today=LAST))
    assert nobody["month"]["requests"] == 1
    await database.close()


async def test_the_latest_generations_come_first_and_with_all_that_is_known(database: Database) -> None:
    rows = await database.read(latest(limit=10))
    assert [row["request_id"] for row in rows] == ["4", "3", "2", "1"]
    assert rows[1] == {
        "at": "2026-11-01T12:00:00.000+00:00", "request_id": "3", "key": "web", "model": SONNET, "outcome": "failed",
        "error": "Conflict", "status": 499, "transport": "rest",
        "stop_reason": "end_turn", "input_tokens": 0, "output_tokens": 0,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "cost_usd": 1e-9, "first_seconds": None,
        "seconds": 2.0}
    assert rows[2]["key"] is None and rows[2]["first_seconds"] == 0.5
    await database.close()


async def test_the_latest_generations_can_be_few_and_of_one_key(database: Database) -> None:
    asked = (("web", 10, ["3", "1"]), ("web", 1, ["3"]), ("anonymous", 10, ["2"]), (None, 1, ["4"]))
    for key, limit, expected in asked:
        rows = await database.read(latest(limit=limit, wanted=Wanted(key=key)))
        assert [row["request_id"] for row in rows] == expected
    await database.close()


async def test_a_prompt_is_shown_where_prompts_are_kept(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db", keep_prompts=True) as (ledger, database):
        ledger.add(ended(text="a prompt"))
        await ledger.flush()
        [row] = await database.read(latest(limit=1))
        assert row["prompt"] == "a prompt" and (await written(database)).requests == 1


async def test_a_key_that_looks_like_sql_is_a_name(database: Database) -> None:
    assert await database.read(latest(wanted=Wanted(key="' OR 1=1 --"))) == []
    assert (await written(database)).requests == 4
    await database.close()


@pytest.mark.parametrize("wrong", ["NULL", "'much'", "x'ff'"])
async def test_sums_that_are_no_numbers_are_a_database_that_cannot_be_used(tmp_path: Path, wrong: str) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        ledger.add(ended(nanodollars=1))
        await ledger.flush()
        for table, key in (("requests", "number"), ("spent", "period, key")):
            await database.write(lambda c: [c.execute(statement) for statement in (
                f"ALTER TABLE {table} RENAME TO {table}_kept",
                f"CREATE TABLE {table} AS SELECT *, {wrong} AS nanodollars FROM (SELECT {key} FROM {table}_kept)")])
        with pytest.raises(StoreUnavailable):
            await database.read(latest(limit=1))
        await database.write(lambda c: c.execute(f"UPDATE spent SET key = 'web', nanodollars = {wrong}"))
        ledger.usage._poll = None
        await ledger.refresh()
        with pytest.raises(StoreUnavailable):
            await hold(ledger, OTHER, 1)


async def test_a_report_over_years_keeps_nobodys_key_from_being_looked_up(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db", create=True) as store:
        fill(tmp_path / "db", rows=100_000)
        report = asyncio.create_task(store.usage.by(["key"], since=FIRST - timedelta(days=400), until=LAST))
        await asyncio.sleep(0)  # it is asked first
        assert await store.keys.changes(None) is not None
        assert not report.done()
        total, rows = await report
    assert total["requests"] == 100_000 == sum(row["requests"] for row in rows)


def fill(path: Path, *, rows: int) -> None:
    """So many rows of usage, of a hundred keys on each of the days before `LAST`."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO usage VALUES (?, ?, ?, 1, 0, 0, 1, 1, 0, 0, 1, 0.5)",
            (((LAST - timedelta(days=number // 1000)).isoformat(), f"key{number % 100}", f"model{number % 1000 // 100}")
             for number in range(rows)))
