"""The budget of the whole server: exact, told in words that blame no key, and in nobody's way where there is none."""
import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioapp.callers import Budget, Caller, Limits, everybody
from aioapp.errors import BadRequest, BudgetSpent, LimitReached, ServerBudgetSpent
from aioapp.limits.server_budget import ServerBudget, held_to
from aioapp.messages.events import Usage
from aioapp.money import NANO
from aioapp.usage import DEFAULT_PRICES, Ledger
from tests.conftest import Serve
from tests.contract import contract
from tests.generations import Accounts, Clock, ended, ledger_at, with_budget
from tests.keyed import make_key, shown

DAY = Budget(nanodollars=NANO, per="day")
ASK = {"prompt": "Hi", "max_tokens": 100}
MOST = 0.0013
"""Dollars that a call of `ASK` may cost at most, and a little less than that."""
ONE = Caller(name="one", known=True, limits=Limits(concurrency=1))


def held(accounts: Accounts) -> ServerBudget:
    return ServerBudget(accounts.allowance, everybody=everybody(DAY), budget=DAY)


async def ask(http: aiohttp.ClientSession, url: str, key: str) -> tuple[int, dict[str, Any]]:
    async with http.post(f"{url}/api/generate", json=ASK, headers=shown(key)) as response:
        if response.status != 200:
            await contract().check_response("/api/generate", response)
        return response.status, await response.json()


async def test_callers_of_all_keys_spend_it_together_to_the_last_call_and_no_further(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    keys = [make_key("one"), make_key("two", usd=100), make_key("ops", admin=True)]
    url = await serve(budget=round(10 * MOST * NANO), per="day")
    answers = [answer for _ in range(8) for answer in await asyncio.gather(
        *[ask(http, url, keys[number % 2]) for number in range(20)])]
    assert Counter(status for status, _ in answers).keys() == {200, 402}
    spent = sum(DEFAULT_PRICES.cost(said["model"], Usage.of(said["usage"]))
                for status, said in answers if status == 200)
    assert 8 * MOST < spent / NANO <= 10 * MOST
    renews = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    for said in (said for status, said in answers if status == 402):
        assert said["error"] == "The server's budget is spent"
        assert renews in said["detail"] and "this server's limit" in said["detail"] and "$" not in said["detail"]
    body = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
    async with http.post(f"{url}/v1/messages", json=body, headers=shown(keys[0])) as response:
        told = (await response.json())["error"]
        assert (response.status, told["type"], response.headers["x-should-retry"]) == (402, "billing_error", "false")
        assert "The budget of this whole server is spent" in told["message"] and renews in told["message"]
    async with http.get(f"{url}/api/usage", headers=shown(keys[0])) as response:
        await contract().check_response("/api/usage", response)
        assert (await response.json())["server_budget"] == {"per": "day", "renews_at": f"{renews}T00:00:00+00:00"}
    async with http.get(f"{url}/admin/usage?by=key", headers=shown(keys[2])) as response:
        await contract().check_response("/admin/usage", response)
        assert (await response.json())["budget"] == {
            "usd": 10 * MOST, "per": "day", "strict": False, "spent_usd": spent / NANO,
            "renews_at": f"{renews}T00:00:00+00:00"}
    async with http.get(f"{url}/metrics", headers=shown(keys[2])) as response:
        lines = (await response.text()).splitlines()
    assert f'aioapp_server_budget_usd{{per="day"}} {10 * MOST}' in lines
    assert f'aioapp_server_budget_spent_usd{{per="day"}} {spent / NANO}' in lines
    refused = next(line for line in lines if line.startswith('aioapp_limit_refusals_total{limit="server_budget"}'))
    assert float(refused.split()[1]) == sum(status == 402 for status, _ in answers) + 1


async def test_without_one_nothing_is_told_and_nothing_stands_in_the_way(
        serve: Serve, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    key, url = make_key("ops", admin=True), await serve()
    for path, field in (("/api/usage", "server_budget"), ("/admin/usage?by=day", "budget")):
        async with http.get(url + path, headers=shown(key)) as response:
            assert (await response.json())[field] is None
    async with ledger_at(tmp_path / "db") as (accounts, _):
        allowance = accounts.allowance
        assert held_to(allowance, everybody(None)) is allowance


async def test_what_it_refuses_holds_nothing_of_the_callers_own(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (accounts, _):
        allowance = held(accounts)
        running = await allowance.reserve(with_budget(NANO), tokens=1, nanodollars=NANO)
        for _ in range(2):
            with pytest.raises(ServerBudgetSpent):
                await allowance.reserve(ONE, tokens=1, nanodollars=1)
        running.settle(1, NANO - 1)
        own = await allowance.reserve(ONE, tokens=1, nanodollars=1)
        with pytest.raises(LimitReached):
            await allowance.reserve(ONE, tokens=1, nanodollars=0)
        own.settle(1, 1)
        with pytest.raises(ServerBudgetSpent):
            await allowance.reserve(ONE, tokens=1, nanodollars=1)


async def test_a_callers_own_refusals_are_its_own_and_hold_nothing_of_everybodys(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (accounts, _):
        allowance = held(accounts)
        with pytest.raises(BadRequest, match="the key's whole budget"):
            await allowance.reserve(with_budget(5), tokens=1, nanodollars=6)
        (await allowance.reserve(with_budget(5), tokens=1, nanodollars=5)).settle(1, 5)
        with pytest.raises(BudgetSpent) as raised:
            await allowance.reserve(with_budget(5), tokens=1, nanodollars=1)
        assert type(raised.value) is BudgetSpent
        await allowance.reserve(ONE, tokens=1, nanodollars=NANO - 5)


async def test_a_call_that_the_whole_budget_could_never_pay_is_refused_as_such(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (accounts, _):
        with pytest.raises(BadRequest, match="the whole budget of this server") as raised:
            await held(accounts).reserve(ONE, tokens=1, nanodollars=NANO + 1)
        assert "$" not in str(raised.value)


async def test_the_next_day_all_of_it_is_there_again(tmp_path: Path) -> None:
    clock = Clock()
    async with ledger_at(tmp_path / "db", clock=clock) as (accounts, _):
        allowance, ledger = held(accounts), Ledger(accounts.usage, clock=clock, everybody=everybody(DAY))
        (await allowance.reserve(ONE, tokens=1, nanodollars=NANO)).settle(1, NANO)
        ledger.add(ended(ONE, NANO))
        for _ in range(2):  # before it is written, and after
            with pytest.raises(ServerBudgetSpent):
                await allowance.reserve(ONE, tokens=1, nanodollars=1)
            await ledger.flush()
        clock.now += timedelta(days=1)
        await accounts.refresh()
        await allowance.reserve(ONE, tokens=1, nanodollars=NANO)
