"""Accounts outlive what happens to processes and databases: nothing is counted twice, and hardly anything is lost."""
import asyncio
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from aioapp.background import running
from aioapp.callers import Caller
from aioapp.errors import StoreUnavailable
from aioapp.store.embedded.database import Database
from tests.generations import DOLLAR, WEB, Accounts, Written, accounts_on, ended, ledger_at, written
from tests.processes import started, until

WINDOW = 1.0
"""Seconds: what a killed process may have lost, as the ledger states it."""
CHILD = (sys.executable, "-m", "tests.test_usage_survival")


async def add_for_ever(path: Path) -> None:
    """The child: adds a generation every 5 ms, and says its number and the time once it is added."""
    async with ledger_at(path) as (ledger, _):
        running = asyncio.create_task(ledger.run())
        for number in range(100_000):
            ledger.add(ended(nanodollars=1, request_id=str(number)))
            print(number, time.monotonic(), flush=True)
            await asyncio.sleep(0.005)
        await running


@pytest.mark.parametrize("seconds", [1.3, 1.7])
async def test_kill_9_loses_no_more_than_the_last_second_and_doubles_nothing(tmp_path: Path, seconds: float) -> None:
    async with started(str(tmp_path / "db"), command=CHILD) as child:
        await child.says(r"^0 ")
        await asyncio.sleep(seconds)
        killed = time.monotonic()
        await child.end(signal.SIGKILL)
    lines = [line.split() for line in child.out[:child.out.rindex("\n")].splitlines()]
    said = [(number, float(at)) for number, at in lines]
    database = Database(tmp_path / "db", create=False)
    found = await written(database)
    await database.close()
    assert found.names == [str(number) for number in range(len(found.names))]
    assert found.requests == found.nanodollars == len(found.names) <= len(said) + 1
    due = [number for number, at in said if at < killed - WINDOW]
    assert due and set(due) <= set(found.names)


Harm = Callable[[Path, Database], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def gone(path: Path, database: Database) -> AsyncIterator[None]:
    """With all that belongs to it. It goes first and comes back last: nobody may open it without its log."""
    aside = path.parent / "aside"
    aside.mkdir()
    for part in sorted(path.parent.glob(f"{path.name}*")):
        part.rename(aside / part.name)
    yield
    for part in sorted(aside.iterdir(), reverse=True):
        part.rename(path.parent / part.name)


@asynccontextmanager
async def gone_without_its_log(path: Path, database: Database) -> AsyncIterator[None]:
    path.rename(path.with_name("aside"))
    yield
    path.with_name("aside").rename(path)


@asynccontextmanager
async def corrupt(path: Path, database: Database) -> AsyncIterator[None]:
    async with gone(path, database):
        path.write_bytes(b"no database" * 1000)
        yield
        path.unlink()


@asynccontextmanager
async def overwritten(path: Path, database: Database) -> AsyncIterator[None]:
    """Its first bytes, in place. Whoever has it open may not notice; whoever opens it next does."""
    await database.read(lambda connection: connection.execute("PRAGMA query_only = ON"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        before = file.read(16)
        file.seek(0)
        file.write(b"no database, is ")
        file.flush()
        yield
        file.seek(0)
        file.write(before)


@asynccontextmanager
async def locked(path: Path, database: Database) -> AsyncIterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@asynccontextmanager
async def read_only(path: Path, database: Database) -> AsyncIterator[None]:
    await database.read(lambda connection: connection.execute("PRAGMA query_only = ON"))
    yield


@asynccontextmanager
async def full(path: Path, database: Database) -> AsyncIterator[None]:
    await database.read(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
    yield


HARMS: list[Harm] = [gone, gone_without_its_log, corrupt, overwritten, locked, read_only, full]


def refused(ledger: Accounts, client: Caller = WEB) -> bool:
    try:
        ledger.known(client)
    except StoreUnavailable as error:
        assert error.retry_after
        return True
    return False


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
async def test_a_database_that_fails_closes_the_door_and_loses_and_doubles_nothing(tmp_path: Path, harm: Harm) -> None:
    path, names = tmp_path / "db", iter(map(str, range(1000)))
    async with ledger_at(path, keep_prompts=True) as (ledger, database):
        running = asyncio.create_task(ledger.run())

        def add(count: int) -> None:
            for name in islice(names, count):
                ledger.add(ended(nanodollars=1, request_id=name, text=name * 2000))

        add(20)
        await ledger.flush()
        async with harm(path, database):
            add(20)
            await until(lambda: refused(ledger))
            add(20)
        await until(lambda: not refused(ledger))
        add(20)
        running.cancel()
        await asyncio.wait({running})
        await ledger.close()
        assert await written(database) == Written([str(number) for number in range(80)], 80, 80)


async def test_what_cannot_be_written_does_not_make_memory_grow(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        (tmp_path / "db").rename(tmp_path / "aside")
        for start in range(0, 25_000, 5_000):
            for number in range(start, start + 5_000):
                ledger.add(ended(nanodollars=1, request_id=str(number)))
            await ledger.flush()
        assert len(ledger.ledger._pending.requests) == 10_000 and len(ledger.ledger._pending.sums) == 1
        (tmp_path / "aside").rename(tmp_path / "db")
        await ledger.flush()
        found = await written(database)
    assert (found.requests, found.nanodollars) == (25_000, 25_000)
    assert found.names == [str(number) for number in range(15_000, 25_000)]


async def test_a_budget_is_closed_while_it_cannot_be_read_and_open_again_after_that(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, _):
        (tmp_path / "db").rename(tmp_path / "aside")
        await ledger.refresh()
        assert refused(ledger, DOLLAR) and not refused(ledger)
        (tmp_path / "aside").rename(tmp_path / "db")
        await ledger.refresh()
        assert not refused(ledger, DOLLAR)


async def test_a_fault_of_ours_closes_the_door_is_heard_of_once_and_loses_nothing(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = Database(tmp_path / "db", create=True)
    ledger = accounts_on(database, clock=partial(datetime.now, UTC))
    async with running(ledger.run):
        for name in ("written", "kept"):
            ledger.add(ended(nanodollars=1, request_id=name))
            await ledger.flush()
            if name == "written":
                await database.close()  # nothing more can be asked of it, which is no failure of the file
        assert refused(ledger) and not ledger.ready
        await until(lambda: "cannot be read: RuntimeError" in caplog.text)
        ledger.add(ended(nanodollars=1, request_id="later"))
        await ledger.flush()
        ledger.usage._database = again = Database(tmp_path / "db", create=False)
        await until(lambda: not refused(ledger, DOLLAR))
    await ledger.close()
    assert await written(again) == Written(["written", "kept", "later"], 3, 3)
    await again.close()
    assert sorted(entry.getMessage() for entry in caplog.records) == [
        "The accounts cannot be read: RuntimeError", "The accounts cannot be written: RuntimeError"]
    assert all(entry.exc_info for entry in caplog.records)


async def test_work_on_the_side_that_fails_says_so_and_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise RuntimeError("canary")
        await asyncio.Event().wait()

    async with running(work, pause=0.01):
        await until(lambda: len(begun) == 3)
    assert [str(entry.exc_info[1]) for entry in caplog.records if entry.exc_info] == ["canary"] * 2


if __name__ == "__main__":
    asyncio.run(add_for_ever(Path(sys.argv[1])))
