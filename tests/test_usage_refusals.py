"""Refusals for a key's own terms are seen: in accounts, metrics and the log, and by the key's state."""
import json
import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioapp.callers import Budget, Standing
from aioapp.errors import BadRequest
from aioapp.keys import Key
from aioapp.keys.state import LATELY, SOON, state_of
from aioapp.store.embedded import reports, request_log
from aioapp.usage.buffer import REFUSALS_KEPT, Pending, Refusal
from aioapp.usage.usage_store import Wanted
from aioapp.web.csv_response import csv_response
from tests.conftest import Serve
from tests.generations import ended, ledger_at, with_budget
from tests.keyed import make_key, shown
from tests.request_pages import latest

Json = dict[str, Any]
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
DAY = NOW.date()
BODY = {"prompt": "Hi", "max_tokens": 5}
RELAYED = {"model": "claude-haiku-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


def refusal(key: str = "web", reason: Any = "budget", *, id: str = "r") -> Refusal:
    return Refusal(key=key, reason=reason, status=402, request_id=id, model="", transport="rest")


async def told(http: aiohttp.ClientSession, url: str, key: str) -> Json:
    async with http.get(url, headers=shown(key)) as response:
        assert response.status == 200, await response.text()
        found: Json = await response.json()
        return found


CASES: Mapping[str, tuple[dict[str, Any], list[tuple[str, Json]], int, str, str]] = {
    "requests": ({"requests_per_minute": 1}, [("/api/generate", BODY)] * 2, 429, "requests_per_minute", "rest"),
    "a stream's": ({"requests_per_minute": 1}, [("/api/stream", BODY)] * 2, 429, "requests_per_minute", "sse"),
    "tokens at once": ({"tokens_per_minute": 1}, [("/api/generate", BODY)], 400, "over_tokens_per_minute", "rest"),
    "a budget at once": ({"usd": 1e-9}, [("/api/generate", BODY)], 400, "over_budget", "rest"),
    "models": ({"models": ("nothing",)}, [("/api/stream", BODY)], 403, "model", "sse"),
    "models of the relay": ({"models": ("nothing",)}, [("/v1/messages", RELAYED)], 403, "model", "rest"),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_refusal_is_counted_by_key_and_reason_wherever_somebody_looks(
        serve: Serve, http: aiohttp.ClientSession, case: str, caplog: pytest.LogCaptureFixture) -> None:
    terms, requests, status, reason, transport = CASES[case]
    boss, web, url = make_key("boss", admin=True), make_key("web", **terms), await serve()
    with caplog.at_level(logging.INFO, logger="aioapp.requests"):
        for path, body in requests:
            async with http.post(url + path, json=body, headers=shown(web)) as response:
                last = response.status
                request_id = response.headers["X-Request-ID"]
                await response.read()
    assert last == status
    assert any(f" web POST {path} {status} " in str(record.msg) for record in caplog.records)
    own = await told(http, f"{url}/api/usage", web)
    assert [(row["reason"], row["requests"]) for row in own["refusals"]] == [(reason, 1)]
    assert own["today"]["refused"] == own["days"][0]["refused"] == 1
    everybody = await told(http, f"{url}/admin/usage?by=day,key", boss)
    assert [(row["key"], row["refused"]) for row in everybody["rows"]] == [("web", 1)]
    assert [(row["key"], row["reason"]) for row in everybody["refusals"]] == [("web", reason)]
    found = await told(http, f"{url}/admin/requests?outcome=refused&key=web&status={status}", boss)
    assert [(row["request_id"], row["error"], row["transport"]) for row in found["requests"]] == [
        (request_id, reason, transport)]
    async with http.get(f"{url}/metrics", headers=shown(boss)) as response:
        assert f'aioapp_key_refusals_total{{key="web",reason="{reason}"}} 1.0' in await response.text()


async def test_a_key_that_has_ended_is_named_though_it_may_not_come_in(
        serve: Serve, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    boss = make_key("boss", admin=True)
    old, url = make_key("old"), await serve()
    async with http.delete(f"{url}/admin/keys/old", headers=shown(boss)) as response:
        assert response.status == 200
    with caplog.at_level(logging.INFO, logger="aioapp.requests"):
        async with http.post(f"{url}/api/generate", json=BODY, headers=shown(old)) as response:
            assert response.status == 401
        async with http.post(f"{url}/api/generate", json=BODY, headers=shown("aio_" + "0" * 16 + "_" + 43 * "x")):
            pass
    assert [str(record.msg).split(" ")[1] for record in caplog.records] == ["old", "-"]
    found = await told(http, f"{url}/admin/usage?by=key", boss)
    assert [(row["key"], row["reason"], row["requests"]) for row in found["refusals"]] == [("old", "revoked", 1)]


async def test_a_frame_that_is_refused_is_one_of_a_websocket(serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, web = make_key("boss", admin=True), make_key("web", requests_per_minute=1, models=("none",))
    url = await serve()
    async with http.ws_connect(f"{url}/ws/generate", headers=shown(web)) as socket:
        for status in (403, 403):  # what is refused is given back to the limit of requests
            await socket.send_json(BODY)
            assert not (await socket.receive_json())["success"], status
    found = await told(http, f"{url}/admin/requests?outcome=refused", boss)
    assert [(row["transport"], row["error"], row["status"]) for row in found["requests"]] == [
        ("websocket", "model", 403)] * 2
    assert len({row["request_id"] for row in found["requests"]}) == 2


async def test_ten_thousand_refusals_push_no_generation_out_and_take_little(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        ledger.add(ended(request_id="kept"))
        for number in range(10_000):
            ledger.ledger.refuse(refusal(id=str(number)))
        assert len(ledger.ledger._pending.refused) == REFUSALS_KEPT and len(ledger.ledger._pending.refusals) == 1
        await ledger.flush()
        for number in range(10_000, 10_010):
            ledger.ledger.refuse(refusal(id=str(number)))
        await ledger.flush()
        [rows] = await database.read(lambda c: c.execute("SELECT count(*) FROM refused_requests").fetchall())
        [row] = await database.read(lambda c: reports.refusals(c, since=date.min, until=date.max))
        found = await database.read(latest(wanted=Wanted(outcome="completed")))
    assert rows[0] <= REFUSALS_KEPT and row["requests"] == 10_010
    assert [one["request_id"] for one in found] == ["kept"]


def test_what_could_not_be_written_is_joined_with_what_came_after() -> None:
    older, newer = Pending(), Pending()
    older.refuse(refusal(), at="2026-12-01T00:00:00")
    newer.refuse(refusal(), at="2026-12-01T00:00:09")
    newer.refuse(refusal(reason="model"), at="2026-12-01T00:00:08")
    older.follow(newer)
    assert older and older.refusals == {
        ("2026-12-01", "web", "budget"): (2, "2026-12-01T00:00:09"),
        ("2026-12-01", "web", "model"): (1, "2026-12-01T00:00:08")}


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_hold_everything_once_in_one_order(tmp_path: Path, limit: int) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        for number in range(6):
            ledger.add(ended(request_id=f"g{number}"))
            ledger.ledger.refuse(refusal(id=f"r{number}"))
        await ledger.flush()
        pages, cursor = [], None
        while True:
            page = await database.read(
                lambda c: request_log.page(c, wanted=Wanted(), limit=limit, cursor=cursor))
            pages.append([row["request_id"] for row in page.requests])
            if (cursor := page.next) is None:
                break
    assert [id for page in pages for id in page] == [
        *(f"g{number}" for number in range(5, -1, -1)), *(f"r{number}" for number in range(5, -1, -1))]
    assert {len(page) for page in pages[:-1]} <= {limit}


async def test_what_is_asked_for_together_must_be_true_together(tmp_path: Path) -> None:
    async with ledger_at(tmp_path / "db") as (ledger, database):
        ledger.add(ended(request_id="a", outcome="failed", error="Conflict"))
        ledger.add(ended(with_budget(1, name="b"), request_id="b"))
        ledger.ledger.refuse(refusal(id="c"))
        await ledger.flush()
        for wanted, expected in (
                (Wanted(key="web"), ["a", "c"]), (Wanted(error="Conflict"), ["a"]), (Wanted(error="budget"), ["c"]),
                (Wanted(status=402), ["c"]), (Wanted(request_id="b"), ["b"]), (Wanted(key="b", status=402), []),
                (Wanted(outcome="refused"), ["c"]), (Wanted(outcome="completed"), ["b"]),
                (Wanted(since=date(2027, 1, 1)), []), (Wanted(until=date(2020, 1, 1)), []),
                (Wanted(since=date.min, until=date.max), ["b", "a", "c"])):
            rows = await database.read(latest(wanted=wanted))
            assert [row["request_id"] for row in rows] == expected, wanted


async def test_a_report_goes_by_three_columns_and_by_the_owner_a_key_has_now(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, web = make_key("boss", admin=True), make_key("web")
    url = await serve()
    async with http.post(f"{url}/api/generate", json=BODY, headers=shown(web)) as response:
        assert response.status == 200
    owner = {"owner": "=ada@example.com"}
    async with http.patch(f"{url}/admin/keys/web", json=owner, headers=shown(boss)) as response:
        assert response.status == 200
    found = await told(http, f"{url}/admin/usage?by=owner,model,day", boss)
    [row] = found["rows"]
    assert (row["owner"], row["requests"], "refused" in row) == ("=ada@example.com", 1, False)
    async with http.get(f"{url}/admin/usage?by=owner,key&format=csv", headers=shown(boss)) as response:
        assert response.headers["Content-Disposition"].endswith('.csv"')
        head, line = (await response.text()).splitlines()
    assert head.startswith("owner,key,requests,") and line.startswith("'=ada@example.com,web,1,")


async def test_a_report_of_more_rows_than_anybody_reads_is_refused(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_ROWS", 2)
    async with ledger_at(tmp_path / "db") as (ledger, database):
        for name in "abc":
            ledger.add(ended(with_budget(1, name=name)))
        await ledger.flush()
        with pytest.raises(BadRequest, match="more than 2 rows"):
            await database.read(lambda c: reports.by(c, ["key"], since=date.min, until=date.max))


def test_a_file_for_spreadsheets_quotes_and_computes_nothing() -> None:
    rows = [{"a": text, "b": None} for text in ("=1+1", "+1", "-1", "@x", 'say "hi", you', "two\nlines", "plain")]
    body = csv_response(rows, columns=["a", "b"], name="x.csv").body
    assert body == (
        b"a,b\r\n'=1+1,\r\n'+1,\r\n'-1,\r\n'@x,\r\n\"say \"\"hi\"\", you\",\r\n\"two\nlines\",\r\nplain,\r\n")


@pytest.mark.parametrize(("terms", "standing", "expected"), [
    ({}, {}, "active"),
    ({"budget": Budget(nanodollars=10, per="day")}, {"spent": {"day": 7, "month": 99}}, "active"),
    ({"budget": Budget(nanodollars=10, per="day")}, {"spent": {"day": 8}}, "near_budget"),
    ({"budget": Budget(nanodollars=10, per="month")}, {"spent": {"day": 1, "month": 10}}, "spent"),
    ({"budget": Budget(nanodollars=10, per="day")}, {"spent": {"day": 9}, "unpaid_at": NOW - LATELY}, "spent"),
    ({}, {"limited_at": NOW - LATELY}, "limited"),
    ({}, {"limited_at": NOW - LATELY - timedelta(seconds=1)}, "active"),
    ({"budget": Budget(nanodollars=10, per="day")}, {"spent": {"day": 9}, "limited_at": NOW}, "limited"),
    ({"expires_at": NOW + SOON}, {}, "expires_soon"),
    ({"expires_at": NOW + SOON + timedelta(seconds=1)}, {}, "active"),
    ({"expires_at": NOW}, {"limited_at": NOW}, "expired"),
    ({"expires_at": NOW, "revoked_at": NOW}, {}, "revoked")])
def test_a_key_has_one_state_and_the_worst_is_told(
        terms: dict[str, Any], standing: dict[str, Any], expected: str) -> None:
    key = Key(name="web", created_at=NOW - timedelta(days=30), **terms)
    assert state_of(key, Standing(**standing), at=NOW) == expected


async def test_a_key_is_seen_to_near_its_budget_to_spend_it_and_to_be_limited(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    boss = make_key("boss", admin=True)
    web = make_key("web", usd=1, requests_per_minute=1)
    url = await serve()

    async def state() -> str:
        listed = {key["name"]: key for key in (await told(http, f"{url}/admin/keys", boss))["keys"]}
        assert listed["web"] == (await told(http, f"{url}/admin/keys/web", boss))["key"]
        assert json.dumps(listed["web"]["spent_usd"])
        return str(listed["web"]["state"])

    async def change(**patch: Any) -> None:
        async with http.patch(f"{url}/admin/keys/web", json=patch, headers=shown(boss)) as response:
            assert response.status == 200

    async def call() -> int:
        async with http.post(f"{url}/api/generate", json=BODY, headers=shown(web)) as response:
            return response.status

    assert (await state(), await call(), await call()) == ("active", 200, 429)
    assert await state() == "limited"
    spent = (await told(http, f"{url}/admin/keys/web", boss))["key"]["spent_usd"]
    await change(requests_per_minute=None, budget={"usd": round(spent * 1.1, 9)})
    assert (await call(), await state()) == (400, "limited")
    await change(budget={"usd": round(spent, 9)})
    assert await state() == "spent"
    await change(budget=None)
    assert (await call(), await state()) == (200, "limited")
