"""What a simulated Claude would cost is no money: no budget, no total and no limit of real calls ever sees it."""
import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import aiohttp

from aioapp.app import create_app
from aioapp.callers import Caller
from aioapp.credentials import fixed
from aioapp.money import NANO
from aioapp.settings import Settings
from tests.conftest import Serve, start
from tests.generations import Clock, ended, ledger_at
from tests.keyed import accounts, database, make_key, shown
from tests.upstreams import upstream, whole

ASK = {"prompt": "Hi"}


async def told(http: aiohttp.ClientSession, url: str, key: str) -> dict[str, Any]:
    async with http.get(url, headers=shown(key)) as response:
        assert response.status == 200
        return dict(await response.json())


async def ask(http: aiohttp.ClientSession, url: str, key: str) -> int:
    async with http.post(f"{url}/api/generate", json=ASK, headers=shown(key)) as response:
        return response.status


async def test_two_servers_on_one_database_of_which_one_is_simulated_share_keys_and_no_money(
        stack: AsyncExitStack, http: aiohttp.ClientSession, serve: Serve) -> None:
    key = make_key(usd=1.0, admin=True, requests_per_minute=3)
    claude = await stack.enter_async_context(upstream(whole))
    real = await start(create_app(
        Settings(base_url=claude.url, shutdown_timeout=0.2), credentials=fixed("k", "test")), stack)
    simulated = await serve()
    assert [await ask(http, simulated, key) for _ in range(4)] == [200, 200, 200, 429]
    assert [await ask(http, real, key) for _ in range(2)] == [200, 200]
    for url, count, is_simulated in ((real, 2, False), (simulated, 3, True)):
        own = await told(http, f"{url}/api/usage", key)
        everybodys = await told(http, f"{url}/admin/usage?by=key", key)
        assert own["simulated"] is everybodys["simulated"] is is_simulated
        assert own["today"]["requests"] == everybodys["total"]["requests"] == count
        assert own["budget"]["spent_usd"] == own["today"]["cost_usd"] > 0
        assert len((await told(http, f"{url}/admin/requests?outcome=completed", key))["requests"]) == count
    assert accounts().exists() and accounts() != database()


async def test_a_budget_that_is_spent_for_real_is_whole_in_the_simulation(
        stack: AsyncExitStack, http: aiohttp.ClientSession, serve: Serve) -> None:
    key = make_key(usd=1.0)
    async with ledger_at(database(), clock=Clock(datetime.now(UTC))) as (ledger, _):
        ledger.add(ended(Caller(name="web", known=True), NANO))
        await ledger.close()
    claude = await stack.enter_async_context(upstream(whole))
    real = await start(create_app(
        Settings(base_url=claude.url, shutdown_timeout=0.2), credentials=fixed("k", "test")), stack)
    assert (await ask(http, real, key), await ask(http, await serve(), key)) == (402, 200)


async def test_a_key_that_was_used_in_the_simulation_was_used(serve: Serve, http: aiohttp.ClientSession) -> None:
    key = make_key(admin=True)
    url = await serve()
    assert await ask(http, url, key) == 200
    async with asyncio.timeout(10):
        while not (await told(http, f"{url}/admin/keys", key))["keys"][0]["last_used_at"]:
            await asyncio.sleep(0.1)
