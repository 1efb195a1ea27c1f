"""When each key was used last: noted with the accounts, in the same write, and no change of the key."""
import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import aiohttp

from aioapp.callers import NOBODY, Caller
from aioapp.keys.key import Key
from aioapp.store.embedded import keys as table
from tests.conftest import Serve
from tests.generations import WEB, Clock, ended, ledger_at
from tests.keyed import make_key, shown

AT = Clock().now


async def test_a_key_was_used_last_when_its_latest_generation_ended(tmp_path: Path) -> None:
    clock = Clock()
    async with ledger_at(tmp_path / "db", clock=clock) as (ledger, database):
        for name in ("web", "other", "idle"):
            await database.write(partial(table.create, key=Key(name=name, created_at=AT), at=AT))
        version = await database.read(table.version)
        for minutes, caller in ((1, WEB), (3, WEB), (2, Caller(name="other", known=True)), (4, NOBODY)):
            clock.now = AT + timedelta(minutes=minutes)
            ledger.add(ended(caller))
        await ledger.flush()
        clock.now = AT  # a clock that was set back, or another worker that writes later
        ledger.add(ended(WEB))
        await ledger.flush()
        found = {key.name: key.last_used_at for key in await database.read(table.listed)}
        assert found == {"web": AT + timedelta(minutes=3), "other": AT + timedelta(minutes=2), "idle": None}
        assert await database.read(table.version) == version  # no process reads its keys again


async def test_a_flush_is_one_transaction_whatever_it_writes(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        with closing(sqlite3.connect(tmp_path / "db")) as other:
            [before] = other.execute("PRAGMA data_version").fetchone()
            for number in range(100):
                ledger.add(ended(Caller(name=f"key-{number % 3}", known=True)))
            statements: list[str] = []
            await database.read(lambda connection: connection.set_trace_callback(statements.append))
            await ledger.flush()
            await database.read(lambda connection: connection.set_trace_callback(None))
            [after] = other.execute("PRAGMA data_version").fetchone()
        assert after != before and sum("COMMIT" in statement for statement in statements) - 1 == 1
        assert sum("INTO last_used" in statement for statement in statements) == 3


async def test_administrators_see_within_a_second_when_a_key_was_used(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, web, url = make_key("boss", admin=True), make_key("web"), await serve()

    async def last_used() -> dict[str, str | None]:
        async with http.get(f"{url}/admin/keys", headers=shown(boss)) as response:
            return {key["name"]: key["last_used_at"] for key in (await response.json())["keys"]}

    assert await last_used() == {"boss": None, "web": None}
    began = datetime.now(UTC) - timedelta(milliseconds=1)
    async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}, headers=shown(web)) as response:
        assert response.status == 200
    async with asyncio.timeout(1):
        while (at := (await last_used())["web"]) is None:
            await asyncio.sleep(0.02)
    assert began <= datetime.fromisoformat(at) <= datetime.now(UTC) and (await last_used())["boss"] is None
