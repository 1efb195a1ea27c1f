"""What everybody used, and the latest requests, as administrators are told of them: real ones, with all endings."""
import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from aioapp.app import create_app
from aioapp.callers import NOBODY
from aioapp.money import NANO
from aioapp.messages.events import Usage
from aioapp.settings import Settings
from aioapp.usage import DEFAULT_PRICES
from tests.conftest import Serve, start
from tests.contract import contract
from tests.generations import Clock, ended, ledger_at, with_budget
from tests.keyed import accounts, database, make_key, shown

Json = dict[str, Any]
USAGE, REQUESTS = "/admin/usage", "/admin/requests"
SONNET, OPUS, HAIKU = "claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5"
TOKENS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
LONG = {"prompt": "count to 100000", "max_tokens": 8_000}
ANSWERED: list[tuple[str, str, int]] = [
    *((USAGE, f"?by={by}", 200) for by in (
        "key", "model", "day", "owner", "key,day", "owner,model,day", "day,day", "key&format=csv", "key&format=json")),
    (USAGE, "?by=day&since=2026-11-01&until=2026-11-30", 200),
    (USAGE, "?by=day&since=2026-11-30&until=2026-11-01", 200),
    (USAGE, "?by=day&until=0001-01-01", 200),
    (USAGE, "?by=day&since=0001-01-01&until=9999-12-31", 200),
    *((USAGE, query, 422) for query in (
        "", "?by=", "?by=prompt", "?by=day&since=", "?by=day&since=yesterday", "?by=day&until=2026-02-30",
        "?by=day&since=2026-11-23T00:00:00Z", "?by=day&until=10000-01-01", "?by=day&key=web", "?by=key;day",
        "?by=key,", "?by=key,day,model,owner",
        "?by=key,prompt", "?by=key%0A", "?by=key&format=xls")),
    *((REQUESTS, query, 200) for query in (
        "", "?limit=1", "?limit=500", "?key=web", "?key=anonymous", "?key=%00", "?key=%FF", "?key=%ED%A0%80",
        "?key='%20OR%201=1%20--", "?outcome=refused", "?outcome=completed&status=200&since=2026-11-01&until=2026-11-30",
        "?model=m&error=e&request_id=r&format=csv", "?status=599", "?since=0001-01-01&until=9999-12-31")),
    *((REQUESTS, f"?cursor={cursor}", status) for cursor, status in (
        ("x", 422), ("%00", 422), ("0" * 27, 200), ("f" * 11 + "1" + "f" * 15, 200), ("0" * 27 + "%0A", 422),
        ("f" * 11 + "2" + "f" * 15, 422))),
    *((REQUESTS, query, 422) for query in (
        "?limit=0", "?limit=501", "?limit=-1", "?limit=", "?limit=ten", "?limit=1.5", f"?limit={'9' * 5000}", "?key=",
        f"?key={'x' * 65}", "?prompts=yes", "?outcome=lost", "?status=99", "?cursor=",
        "?since=today")),
]
REFUSED = [(401, None), (403, "web")]


def nanodollars(figures: Json) -> int:
    """What the figures say that it cost, exactly."""
    return int(Decimal(str(figures["cost_usd"])) * NANO)


def priced(answer: Json) -> int:
    """What an answer's own usage costs by the table."""
    return DEFAULT_PRICES.cost(answer["model"], Usage(**answer["usage"]))


@dataclass
class Caller:
    """Whoever asks a server, and what it was answered."""

    http: aiohttp.ClientSession
    url: str
    answers: list[Json] = field(default_factory=list)

    async def ask(self, key: str, body: Json) -> int:
        asked = self.http.post(f"{self.url}/api/generate", json={"prompt": "Hi", **body}, headers=shown(key))
        async with asked as response:
            self.answers += [await response.json()] if response.status == 200 else []
            return response.status

    async def leave(self, key: str) -> None:
        """Ask for a long stream, and hang up in it."""
        async with self.http.post(f"{self.url}/api/stream", json=LONG, headers=shown(key)) as response:
            assert (await response.content.readline()).startswith(b"data: ")
            response.close()

    async def told(self, path: str, key: str) -> Json:
        async with self.http.get(self.url + path, headers=shown(key)) as response:
            assert response.status == 200, await response.text()
            await contract().check_response(path.partition("?")[0], response)
            said: Json = await response.json()
        return said

    async def ended(self, boss: str, count: int) -> list[Json]:
        """The latest requests, as soon as there are so many."""
        async with asyncio.timeout(5):
            while len(found := (await self.told(REQUESTS, boss))["requests"]) < count:
                await asyncio.sleep(0.02)
        return list(found)


@pytest.fixture
def boss() -> str:
    return make_key("boss", admin=True)


@pytest.fixture
def keys() -> dict[str, str]:
    return {name: make_key(name) for name in ("web", "other")}


@pytest.fixture
async def caller(
        boss: str, keys: dict[str, str], stack: AsyncExitStack, http: aiohttp.ClientSession) -> Caller:
    return Caller(http, await start(create_app(Settings(simulate=True, simulate_pace=0.02)), stack))


@pytest.mark.parametrize(("path", "query", "status"), ANSWERED)
async def test_every_answer_is_given_as_it_is_documented(
        boss: str, serve: Serve, http: aiohttp.ClientSession, path: str, query: str, status: int) -> None:
    async with http.get(await serve() + path + query, headers=shown(boss)) as response:
        assert response.status == status, await response.text()
        await contract().check_response(path, response)
        told = await response.json() if response.content_type == "application/json" else {}
    assert status == 200 or {row["loc"][0] for row in told["detail"]} == {"query"}


@pytest.mark.parametrize("path", [USAGE, REQUESTS])
async def test_nobody_else_is_told_anything(serve: Serve, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(f"{await serve()}{path}?by=day") as response:  # without keys there is no administrator
        assert response.status == 403
        await contract().check_response(path, response)
    keys = {"boss": make_key("boss", admin=True), "web": make_key("web")}
    url = f"{await serve()}{path}?by=day"
    for status, by in REFUSED:
        async with http.get(url, headers=shown(keys[by]) if by else {}) as response:
            assert response.status == status
            await contract().check_response(path, response)
    accounts().rename(accounts().with_suffix(".away"))
    async with http.get(url.replace("requests?by=day", "requests"), headers=shown(keys["boss"])) as response:
        assert response.status == 503
        await contract().check_response(path, response)


def test_no_other_answer_is_documented() -> None:
    """Only our own fault is left out: nothing that a caller does brings one about; and 400 for a long report, of which
    `test_store_reports` tells."""
    for path in (USAGE, REQUESTS):
        assert contract().statuses(path, "get") == {
            *({400} if path == USAGE else ()), 500, 503, *(status for status, _ in REFUSED),
            *(status for read, _, status in ANSWERED if read == path)}


async def test_every_generation_is_in_the_figures_however_it_ended(
        boss: str, keys: dict[str, str], caller: Caller) -> None:
    web, other = keys["web"], keys["other"]
    assert [await caller.ask(web, {"model": SONNET}), await caller.ask(web, {"model": OPUS})] == [200, 200]
    assert await caller.ask(other, {"model": HAIKU, "prompt": "count to 5"}) == 200
    assert await caller.ask(other, {"model": "simulate-500"}) == 502
    await caller.leave(web)
    left, failed, *completed = await caller.ended(boss, 5)
    assert [row["model"] for row in completed] == [HAIKU, OPUS, SONNET]
    assert [nanodollars(row) for row in reversed(completed)] == [priced(answer) for answer in caller.answers]
    assert {row["outcome"] for row in completed} == {"completed"}
    assert (failed["outcome"], failed["model"], failed["key"], failed["cost_usd"], failed["first_seconds"]) == (
        "failed", "simulate-500", "other", 0, None)
    assert failed["error"] == "Claude's answer could not be used" and failed["stop_reason"] is None
    assert (left["outcome"], left["error"], left["key"]) == ("cancelled", None, "web")
    assert nanodollars(left) == DEFAULT_PRICES.cost(SONNET, Usage(*(left[kind] for kind in TOKENS))) > 0
    assert left["first_seconds"] <= left["seconds"]

    costs = [sum(map(nanodollars, rows)) for rows in ([left, *completed[1:]], [failed, completed[0]])]
    by_key = await caller.told(f"{USAGE}?by=key", boss)
    counted = [(row["key"], row["requests"], row["failed"], row["cancelled"]) for row in by_key["rows"]]
    assert counted == [("web", 3, 0, 1), ("other", 2, 1, 0)]
    assert list(map(nanodollars, by_key["rows"])) == costs
    by_model = {row["model"]: row for row in (await caller.told(f"{USAGE}?by=model", boss))["rows"]}
    assert {name: row["requests"] for name, row in by_model.items()} == {SONNET: 2, OPUS: 1, HAIKU: 1, "other": 1}
    assert nanodollars(by_model[OPUS]) == priced(caller.answers[1])
    by_day = await caller.told(f"{USAGE}?by=day", boss)
    [row] = by_day["rows"]
    assert {name: value for name, value in row.items() if name != "day"} == by_day["total"] == by_key["total"]
    assert nanodollars(by_day["total"]) == sum(costs) and by_day["total"]["requests"] == 5


async def test_a_stream_that_breaks_is_accounted_for_as_far_as_it_came(boss: str, caller: Caller) -> None:
    for model in ("simulate-cut", "simulate-error"):
        body = {"prompt": "Hi", "model": model, "format": "events"}
        async with caller.http.post(f"{caller.url}/api/stream", json=body, headers=shown(boss)) as response:
            assert "event: error" in await response.text()
    rows = await caller.ended(boss, 2)
    assert [(row["outcome"], row["key"]) for row in rows] == 2 * [("failed", "boss")]
    assert all(row["input_tokens"] and row["cost_usd"] and row["error"] for row in rows)


async def test_figures_are_of_the_days_that_are_asked_for(boss: str, serve: Serve, http: aiohttp.ClientSession) -> None:
    today, clock = datetime.now(UTC).date(), Clock()
    days = [today - timedelta(days=days) for days in (40, 30, 29, 1)]
    async with ledger_at(accounts(), clock=clock) as (ledger, _):
        for number, day in enumerate(days):
            clock.now = datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
            ledger.add(ended(with_budget(1, name="web"), 10**number))
        await ledger.close()
    caller = Caller(http, await serve())

    async def costs(**span: date) -> tuple[list[str], int]:
        asked = "".join(f"&{name}={day}" for name, day in span.items())
        told = await caller.told(f"{USAGE}?by=day{asked}", boss)
        assert not span or {name: told[name] for name in span} == {name: str(day) for name, day in span.items()}
        return [row["day"] for row in told["rows"]], nanodollars(told["total"])

    first, second, third, fourth = days
    assert await costs() == ([str(third), str(fourth)], 1100)
    assert await costs(until=second) == ([str(first), str(second)], 11)
    assert await costs(since=second, until=third) == ([str(second), str(third)], 110)
    assert await costs(since=fourth) == ([str(fourth)], 1000)
    assert await costs(since=today) == ([], 0)
    assert await costs(since=fourth, until=first) == ([], 0)
    assert (await caller.told(f"{USAGE}?by=day&until=0001-01-02", boss))["since"] == "0001-01-01"


async def test_the_latest_requests_come_first_and_can_be_few_and_of_one_key(
        boss: str, serve: Serve, http: aiohttp.ClientSession) -> None:
    async with ledger_at(accounts()) as (ledger, _):
        ledger.add(ended(NOBODY, request_id="nobody"))
        await ledger.close()
    web, caller = make_key("web"), Caller(http, await serve())
    for number, key in enumerate((web, boss, web)):
        headers = {**shown(key), "X-Request-ID": f"number-{number}"}
        async with http.post(f"{caller.url}/api/generate", json={"prompt": "Hi"}, headers=headers) as response:
            assert response.status == 200
    for query, expected in (
            ("", [2, 1, 0, None]), ("?limit=2", [2, 1]), ("?key=web", [2, 0]), ("?key=web&limit=1", [2]),
            ("?key=anonymous", [None]), ("?key=nobody", []), ("?key=WEB", [])):
        told = (await caller.told(REQUESTS + query, boss))["requests"]
        assert [row["request_id"] for row in told] == [
            "nobody" if number is None else f"number-{number}" for number in expected]
    assert (await caller.told(f"{REQUESTS}?key=anonymous", boss))["requests"][0]["key"] is None


@pytest.mark.parametrize("kept", [False, True])
async def test_prompts_are_told_only_where_the_server_is_set_to_keep_them(
        boss: str, serve: Serve, http: aiohttp.ClientSession, kept: bool) -> None:
    caller = Caller(http, await serve(keep_prompts=kept))
    await caller.ask(boss, {"prompt": "canary <b>in</b> the mine", "system": "canary in the system"})
    told = await caller.told(REQUESTS, boss)
    assert [row.get("prompt") for row in told["requests"]] == [("canary <b>in</b> the mine" if kept else None)]
    assert ("prompt" in told["requests"][0]) == kept
    written = b"".join(path.read_bytes() for path in database().parent.iterdir() if path.is_file())
    assert "in the system" not in json.dumps(told) and b"in the system" not in written
    assert (b"canary" in written) == kept
