"""Workers of one machine spend one budget, and not a cent more than it has, whoever is asked and whoever is killed."""
import asyncio
import sqlite3
from collections import Counter
from contextlib import closing

import aiohttp
import pytest

from aioapp.money import NANO
from aioapp.messages.events import Usage
from aioapp.usage import DEFAULT_PRICES
from tests.keyed import accounts, make_key, shown
from tests.processes import serving, until, upstream_at
from tests.test_shutdown import Held
from tests.test_cli_supervisor import stopped
from tests.test_workers import SOON, Answer, Caller, cut_off, in_flight, team
from tests.upstreams import upstream

ASK = {"prompt": "Hi", "max_tokens": 100}
MOST = 0.0013
"""Dollars that a call of `ASK` may cost at most, and a little less than that."""


def cost(answer: Answer) -> int:
    return DEFAULT_PRICES.cost(answer.body["model"], Usage.of(answer.body["usage"]))


def accounted() -> int:
    """The nanodollars that are in the database."""
    with closing(sqlite3.connect(accounts())) as connection:
        [[sum]] = connection.execute("SELECT coalesce(sum(nanodollars), 0) FROM usage").fetchall()
    return int(sum)


async def ask(url: str, key: str, http: aiohttp.ClientSession) -> Answer:
    async with http.post(f"{url}/api/generate", json=ASK, headers=shown(key)) as response:
        return Answer(response.status, response.headers.get("Retry-After"), await response.json())


@pytest.mark.parametrize("calls", [3, 20])
async def test_eight_workers_that_are_asked_at_once_never_spend_more_than_the_budget(calls: int) -> None:
    budget = MOST * calls
    key = make_key(usd=budget)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # each call goes to whichever worker is free
    async with (aiohttp.ClientSession(connector=connector) as http,
                serving("--workers", "8", "--simulate", "--simulate-pace", "0.2", "--no-access-log") as server):
        answers: list[Answer] = []
        for _ in range(3):
            answers += await asyncio.gather(*[ask(server.url, key, http) for _ in range(150)])
        assert await server.end() == 0
    assert "Traceback" not in server.err
    assert Counter(answer.status for answer in answers).keys() == {200, 402}
    spent = sum(cost(answer) for answer in answers if answer.status == 200)
    assert spent == accounted()
    assert budget - 2 * MOST < spent / NANO <= budget  # and nearly all of it could be spent


async def test_a_budget_stays_exact_while_it_is_changed_under_two_hundred_calls() -> None:
    """It goes up and down between calls; of all that it ever was, the largest bounds what is spent."""
    calls, key, boss = 20, make_key(usd=MOST * 5), make_key("boss", admin=True)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with (aiohttp.ClientSession(connector=connector) as http,
                serving("--workers", "4", "--simulate", "--simulate-pace", "0.2", "--no-access-log") as server):
        running = [asyncio.create_task(ask(server.url, key, http)) for _ in range(200)]
        for number in (10, 3, 12, 8, calls):
            budget = {"budget": {"usd": MOST * number}, "concurrency": None if number % 2 else 150}
            async with http.patch(f"{server.url}/admin/keys/web", json=budget, headers=shown(boss)) as response:
                assert response.status == 200
        answers = await asyncio.gather(*running)
        await asyncio.sleep(SOON)  # until every worker knows of the last change
        for _ in range(3):
            answers += await asyncio.gather(*[ask(server.url, key, http) for _ in range(50)])
        assert await server.end() == 0
    assert "Traceback" not in server.err
    assert Counter(answer.status for answer in answers).keys() <= {200, 402, 429}
    spent = sum(cost(answer) for answer in answers if answer.status == 200)
    assert spent == accounted()
    assert MOST * (calls - 2) < spent / NANO <= MOST * calls


async def test_what_a_killed_worker_had_set_aside_is_there_for_the_others_and_what_they_hold_is_not() -> None:
    key, held = make_key(usd=3.5 * MOST), Held()
    async with upstream(held) as claude, team("--no-access-log", env=upstream_at(claude.url)) as workers:
        victim = workers.callers[min(workers.callers)]
        async with stopped(set(workers.callers) - {victim.pid}):
            first = [asyncio.create_task(cut_off(victim.url, key)) for _ in range(3)]
            await until(lambda: in_flight(claude) == 3)
        refused = [await caller.generate(key) for caller in workers.callers.values()]
        assert {(answer.status, answer.body["error"]) for answer in refused} == {(402, "The key's budget is spent")}
        assert {"set aside" in answer.body["detail"] or "are left" in answer.body["detail"]
                for answer in refused} == {True}
        await workers.kill()
        assert await asyncio.gather(*first) == [True] * 3
        await until(lambda: in_flight(claude) == 0)
        await workers.meet()
        second = [asyncio.create_task(caller.generate(key)) for caller in workers.callers.values()]
        await until(lambda: in_flight(claude) == 3)
        [last], running = await asyncio.wait(second, return_when=asyncio.FIRST_COMPLETED)
        assert (await last).status == 402
        held.release.set()
        assert {(await answer).status for answer in running} == {200}


async def test_a_budget_holds_while_workers_are_killed_in_the_middle_of_it() -> None:
    budget = 30 * MOST
    key = make_key(usd=budget)
    answers: list[Answer] = []

    async def load(caller: Caller) -> None:
        try:
            while (answer := await caller.generate(key)).status == 200:
                answers.append(answer)
        except aiohttp.ClientError:
            return

    async with team("--simulate", "--simulate-pace", "0.02", "--no-access-log") as workers:
        loads = [asyncio.create_task(load(caller)) for caller in workers.callers.values()]
        await until(lambda: len(answers) > 5)
        await workers.kill()
        await asyncio.gather(*loads)
        await workers.meet()
        await asyncio.gather(*[load(caller) for caller in workers.callers.values()])
    spent = sum(map(cost, answers))
    assert accounted() / NANO <= budget and spent / NANO <= budget
    assert budget - 3 * MOST < spent / NANO  # the answer that was cut off may count
