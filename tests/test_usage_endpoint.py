"""What a key is told of itself: its own figures, and what it may use yet."""
import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from aioapp.callers import NOBODY
from aioapp.money import NANO
from aioapp.messages.events import Usage
from aioapp.usage import DEFAULT_PRICES
from tests.conftest import Serve
from tests.contract import contract
from tests.generations import Clock, ended, ledger_at, with_budget
from tests.keyed import accounts, make_key, shown

Json = dict[str, Any]
PATH = "/api/usage"
REFUSED: list[tuple[int, bool, dict[str, str]]] = [
    (401, True, {}), (401, True, {"X-API-Key": "aio_nonesuch"}), (403, False, {"Host": "rebound.example"})]


async def told(http: aiohttp.ClientSession, url: str, key: str | None = None) -> Json:
    async with http.get(url + PATH, headers=shown(key) if key else {}) as response:
        assert response.status == 200, await response.text()
        await contract().check_response(PATH, response)
        said: Json = await response.json()
    return said


async def generated(http: aiohttp.ClientSession, url: str, key: str, **more: Any) -> Json:
    async with http.post(f"{url}/api/generate", json={"prompt": "Hi", **more}, headers=shown(key)) as response:
        said: Json = await response.json()
    return {"status": response.status, **said}


@pytest.mark.parametrize(("status", "keyed", "headers"), REFUSED)
async def test_who_may_not_ask_is_refused_as_it_is_documented(
        serve: Serve, http: aiohttp.ClientSession, status: int, keyed: bool, headers: dict[str, str]) -> None:
    if keyed:
        make_key()
    async with http.get(await serve() + PATH, headers=headers) as response:
        assert response.status == status
        await contract().check_response(PATH, response)


async def test_a_database_that_has_gone_is_told_of_until_it_is_back(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    key, url = make_key(), await serve()
    assert (await told(http, url, key))["today"]["requests"] == 0
    away = accounts().rename(accounts().with_suffix(".away"))
    async with http.get(url + PATH, headers=shown(key)) as response:
        assert response.status == 503 and int(response.headers["Retry-After"]) > 0
        await contract().check_response(PATH, response)
    away.rename(accounts())
    async with asyncio.timeout(5):
        while (await generated(http, url, key))["status"] != 200:
            await asyncio.sleep(0.05)
    assert (await told(http, url, key))["today"]["requests"] == 1


def test_no_other_answer_is_documented() -> None:
    """Only our own fault is left out: nothing that a caller does brings one about."""
    assert contract().statuses(PATH, "get") == {200, 500, 503, *(status for status, *_ in REFUSED)}


async def test_a_key_sees_its_own_figures_and_nobody_elses(serve: Serve, http: aiohttp.ClientSession) -> None:
    web, other, boss, url = make_key("web"), make_key("other"), make_key("boss", admin=True), await serve()
    answers = [await generated(http, url, web), await generated(http, url, web, model="claude-opus-5-5")]
    assert (await generated(http, url, other, prompt="count to 50"))["status"] == 200
    own = await told(http, url, web)
    assert own["key"] == "web" and own["limits"] == dict.fromkeys(own["limits"]) and own["budget"] is None
    usages = [Usage(**answer["usage"]) for answer in answers]
    costs = [DEFAULT_PRICES.cost(answer["model"], usage) for answer, usage in zip(answers, usages)]
    assert (own["today"]["requests"], own["today"]["tokens"]) == (2, sum(answer["tokens_used"] for answer in answers))
    assert round(own["today"]["cost_usd"] * NANO) == sum(costs)
    assert own["today"] == own["month"] == {name: value for name, value in own["days"][0].items() if name != "day"}
    assert own["days"][0]["day"] == datetime.now(UTC).date().isoformat() and len(own["days"]) == 1
    assert {row["model"]: round(row["cost_usd"] * NANO) for row in own["models"]} == {
        answer["model"]: cost for answer, cost in zip(answers, costs)}
    assert (await told(http, url, other))["today"]["requests"] == 1
    assert (await told(http, url, boss))["today"]["requests"] == 0


async def test_without_keys_it_is_what_all_callers_used_together(serve: Serve, http: aiohttp.ClientSession) -> None:
    url = await serve()
    async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}) as response:
        assert response.status == 200
    own = await told(http, url)
    assert (own["key"], own["budget"], own["today"]["requests"]) == (None, None, 1)


async def test_asking_costs_no_request(serve: Serve, http: aiohttp.ClientSession) -> None:
    key, url = make_key(requests_per_minute=2), await serve()
    for left in (2, 1, 0):
        for _ in range(3):
            own = await told(http, url, key)
            assert own["limits"] == {"requests_per_minute": 2, "tokens_per_minute": None, "concurrency": None}
        assert own["today"]["requests"] == 2 - left
        assert (await generated(http, url, key))["status"] == (200 if left else 429)


GUESSES = {"claude-opus-5-5": False, "claude-opus-9": True, "my-gateway-7": True, "free-of-charge": False}


@pytest.mark.parametrize("prices", [None, '{"my-gateway-*": {"input": 1, "output": 1}}'])
async def test_what_a_model_cost_that_no_list_has_is_told_as_a_guess(
        serve: Serve, http: aiohttp.ClientSession, prices: str | None) -> None:
    web, boss = make_key("web"), make_key("boss", admin=True)
    async with ledger_at(accounts(), clock=Clock(datetime.now(UTC))) as (ledger, _):
        for model in GUESSES:
            ledger.add(ended(nanodollars=0 if model == "free-of-charge" else 5, asked=model, model=model))
        await ledger.close()
    url = await serve(prices=prices)
    guesses = GUESSES if prices is None else {**GUESSES, "my-gateway-7": False}
    assert {row["model"]: row["guessed"] for row in (await told(http, url, web))["models"]} == guesses
    for by, guessed in (("model", guesses), ("day", None), ("key", None)):
        async with http.get(f"{url}/admin/usage?by={by}", headers=shown(boss)) as response:
            await contract().check_response("/admin/usage", response)
            rows = (await response.json())["rows"]
        assert guessed == {row["model"]: row["guessed"] for row in rows} if guessed else "guessed" not in rows[0]


@pytest.mark.parametrize("strict", [False, True])
async def test_a_budget_is_told_with_what_is_spent_and_when_it_renews(
        serve: Serve, http: aiohttp.ClientSession, strict: bool) -> None:
    key, url = make_key(usd=2.5, strict=strict), await serve()
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert (await told(http, url, key))["budget"] == {
        "usd": 2.5, "per": "day", "strict": strict, "spent_usd": 0, "renews_at": f"{tomorrow}T00:00:00+00:00"}
    answer = await generated(http, url, key)
    own = await told(http, url, key)
    cost = DEFAULT_PRICES.cost(answer["model"], Usage(**answer["usage"]))
    assert round(own["budget"]["spent_usd"] * NANO) == cost > 0
    assert own["budget"]["spent_usd"] == own["today"]["cost_usd"]


async def test_days_and_models_are_of_thirty_days_and_the_month_is_the_calendars(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    today, clock, key = datetime.now(UTC), Clock(), make_key()
    days = [today - timedelta(days=days) for days in (30, 29, 1, 0)]
    async with ledger_at(accounts(), clock=clock) as (ledger, _):
        for clock.now in days:
            ledger.add(ended(with_budget(1, name="web"), 7))
            ledger.add(ended(NOBODY, 100))
        await ledger.close()
    own = await told(http, await serve(), key)
    assert [row["day"] for row in own["days"]] == [str(day.date()) for day in days[1:]]
    assert [row["requests"] for row in own["models"]] == [3]
    assert own["today"]["requests"] == 1
    assert own["month"]["requests"] == sum((day.year, day.month) == (today.year, today.month) for day in days)
