"""What operators are told without looking: each alert once, over workers and restarts, and gauges that rules go by."""
import asyncio
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml  # type: ignore[import-untyped]  # it has no hints
from prometheus_client.parser import text_string_to_metric_families

import aioapp
from aioapp.callers import Budget, Standing, everybody
from aioapp.keys.key import Key
from aioapp.keys.state import STATES, state_of
from aioapp.money import NANO
from aioapp.telemetry import standings
from aioapp.telemetry.metrics import Metrics
from tests.conftest import Serve
from tests.keyed import database, make_key, shown
from tests.processes import PATIENCE, serving, until
from tests.receivers import KEY, SECRET, Receiver, broken, receiver, silent, taken
from tests.test_telemetry_metrics import everything
from tests.test_workers import SIMULATED
from tests.upstreams import Connection, upstream, whole

OPERATIONS = Path(aioapp.__file__).parent / "pages" / "operations"
ASK = {"prompt": "Hi", "max_tokens": 100}
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
TEN = Budget(nanodollars=10 * NANO, per="day")


async def ask(http: aiohttp.ClientSession, url: str, key: str) -> int:
    async with http.post(f"{url}/api/generate", json=ASK, headers=shown(key)) as response:
        return response.status


def alerting(to: Receiver) -> dict[str, Any]:
    return {"alert_webhook": to.url, "alert_webhook_secret": KEY}


# Alerts.

async def test_a_receiver_that_says_nothing_holds_up_no_caller(serve: Serve, http: aiohttp.ClientSession) -> None:
    key = make_key(usd=1, spent=0.9)
    async with receiver(silent) as to:
        url = await serve(**alerting(to))
        await until(lambda: to.messages)
        for _ in range(30):
            assert await ask(http, url, key) == 200
        assert len(to.messages) == 1 and not to.server.seen[0].gone.is_set()  # it is still being waited for
    assert to.types == ["key.budget.near"]


async def test_credentials_that_claude_refuses_and_takes_again_are_told_of_and_nothing_secret_is(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    key, refusing = make_key(), True

    async def moody(connection: Connection) -> None:
        if refusing:
            await connection.answer(401, json.dumps({"type": "error", "error": {
                "type": "authentication_error", "message": "invalid x-api-key"}}).encode())
        else:
            await whole(connection)

    async with upstream(moody) as claude, receiver() as to:
        url = await serve(claude.url, **alerting(to))
        assert [await ask(http, url, key) for _ in range(3)] == [503] * 3
        await until(lambda: to.types == ["credentials.refused"])
        refusing = False
        assert [await ask(http, url, key) for _ in range(3)] == [200] * 3
        await until(lambda: len(to.types) == 2)
        refused, usable = to.messages
        assert (refused["type"], usable["type"]) == ("credentials.refused", "credentials.usable")
        assert usable["data"] == {"source": "ANTHROPIC_API_KEY", "auth_type": "api_key",
                                  "refused_since": refused["data"]["refused_since"]}
        told = b"".join(connection.raw for connection in to.server.seen).decode()
    assert not [secret for secret in ("sk-canary-key", key, SECRET) if secret in told]


@asynccontextmanager
async def workers(to: Receiver) -> AsyncIterator[str]:
    """Four, on one URL."""
    async with serving("--workers", "4", *SIMULATED, "--alert-webhook", to.url, "--budget", "1.1", "--per", "day",
                       env={"API_ALERT_WEBHOOK_SECRET": SECRET}) as server:
        yield server.url
        assert await server.end() == 0
    assert "Traceback" not in server.err and "Alerts go to 127.0.0.1." in server.err
    assert SECRET not in server.err and to.url not in server.err


def due_now() -> None:
    """As if the time had passed until what was not taken is tried again."""
    with closing(sqlite3.connect(database())) as connection, connection:
        connection.execute("UPDATE alerts SET due_at = '2026' WHERE due_at IS NOT NULL")


async def test_four_workers_and_those_after_them_have_each_alert_taken_once() -> None:
    poor, ops = make_key("poor", usd=0.0015, spent=0.0009), make_key("ops", admin=True)
    make_key("spent", usd=1, spent=1)
    wanted = ["key.budget.near", "key.budget.refused", "key.budget.spent", "server.budget.near"]
    connector = aiohttp.TCPConnector(force_close=True)  # each call goes to whichever worker is free
    async with receiver(broken) as to, aiohttp.ClientSession(connector=connector) as http:
        async with workers(to) as url:
            assert set(await asyncio.gather(*[ask(http, url, poor) for _ in range(40)])) == {402}
            await until(lambda: len({message["id"] for message in to.messages}) == len(wanted))
        tried, before = {message["id"] for message in to.messages}, len(to.messages)
        to.answer_by(taken)
        due_now()
        async with workers(to) as url:
            assert set(await asyncio.gather(*[ask(http, url, poor) for _ in range(40)])) == {402}
            await until(lambda: len(to.messages) >= before + len(wanted))
            await asyncio.sleep(1.2)  # long enough for each worker to look once more
            async with asyncio.timeout(PATIENCE):
                while (figures := await scraped(http, url, ops))["aioapp_workers", ""] < 4:
                    await asyncio.sleep(0.1)
        assert sorted(to.types[before:]) == wanted
        assert {message["id"] for message in to.messages[before:]} == tried
    assert figures["aioapp_process_resident_memory_bytes", ""] > 4 * 20 * 2**20
    assert figures["aioapp_process_open_fds", ""] > 4 * 5
    assert figures["aioapp_process_cpu_seconds_total", ""] > 0.1
    assert figures["aioapp_credentials_usable", ""] == figures["aioapp_database_usable", ""] == 1
    assert (figures["aioapp_keys", "state=active"], figures["aioapp_keys", "state=spent"]) == (2, 1)
    assert figures["aioapp_key_budget_usd", "key=spent,per=day"] == 1


# Gauges.

async def scraped(http: aiohttp.ClientSession, url: str, key: str) -> dict[tuple[str, str], float]:
    async with http.get(f"{url}/metrics", headers=shown(key)) as response:
        return gauges(await response.text())


def gauges(text: str) -> dict[tuple[str, str], float]:
    return {(sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


@pytest.mark.parametrize(("changes", "spent", "state"), [
    ({}, 0, "active"), ({}, 7.99, "near_budget"), ({}, 7.9, "active"), ({}, 10, "spent"),
    ({"budget": None}, 100, "active"),
    ({"expires_at": AT + timedelta(days=7)}, 0, "expires_soon"), ({"expires_at": AT + timedelta(days=8)}, 0, "active"),
    ({"expires_at": AT + timedelta(days=7)}, 9, "near_budget"), ({"expires_at": AT}, 10, "expired"),
    ({"expires_at": AT, "revoked_at": AT}, 10, "revoked")])
def test_a_key_is_what_is_worst_of_it(changes: dict[str, Any], spent: float, state: str) -> None:
    terms = {"name": "web", "budget": Budget(nanodollars=round(9.98 * NANO), per="day"), "created_at": AT, **changes}
    key, used = Key(**terms), round(spent * NANO)
    told = state_of(key, Standing(spent={"day": used, "month": used}), at=AT)
    assert told == state and state in STATES


def collected(
        *keys: Key, sums: dict[tuple[str, str], int], whole: Budget | None = None) -> dict[tuple[str, str], float]:
    metrics = Metrics()
    metrics.ask(standings.Standings(keys=lambda: keys, sums=lambda: sums, everybody=everybody(whole)))
    return gauges(metrics.render().decode())


def test_keys_are_counted_by_state_and_budgets_told_with_what_is_spent_of_them() -> None:
    today = TEN.period(datetime.now(UTC))
    keys = [Key(name="web", budget=TEN, created_at=AT), Key(name="free", created_at=AT),
            Key(name="gone", budget=TEN, created_at=AT, revoked_at=AT)]
    told = collected(*keys, sums={("web", today): 9 * NANO, ("*", today[:7]): 50 * NANO, ("free", today): NANO},
                     whole=Budget(nanodollars=40 * NANO, per="month"))
    assert {labels: value for (name, labels), value in told.items() if name == "aioapp_keys"} == {
        "state=active": 1, "state=near_budget": 1, "state=spent": 0, "state=expires_soon": 0, "state=expired": 0,
        "state=revoked": 1}
    assert {key: value for key, value in told.items() if "budget_" in key[0]} == {
        ("aioapp_key_budget_usd", "key=web,per=day"): 10, ("aioapp_key_budget_spent_usd", "key=web,per=day"): 9,
        ("aioapp_server_budget_usd", "per=month"): 40, ("aioapp_server_budget_spent_usd", "per=month"): 50}


def test_of_very_many_keys_those_have_series_that_have_spent_most_of_their_budgets() -> None:
    today = TEN.period(datetime.now(UTC))
    keys = [Key(name=f"key{number}", budget=TEN, created_at=AT) for number in range(standings.MOST + 5)]
    told = collected(*keys, sums={(f"key{number}", today): number for number in range(len(keys))})
    series = {labels for name, labels in told if name == "aioapp_key_budget_usd"}
    assert len(series) == standings.MOST
    assert "key=key5,per=day" in series and "key=key4,per=day" not in series
    assert told["aioapp_keys", "state=active"] == len(keys)


async def test_what_cannot_be_used_is_zero_and_a_late_event_loop_is_seen() -> None:
    metrics, usable = Metrics(), [True, True]
    async with AsyncExitStack() as stack:
        task = asyncio.create_task(metrics.vitals.run(credentials=lambda: usable[0], database=lambda: usable[1]))
        stack.callback(task.cancel)
        await asyncio.sleep(0.05)
        told = gauges(metrics.render().decode())
        assert told["aioapp_credentials_usable", ""] == told["aioapp_database_usable", ""] == 1
        time.sleep(0.4)  # on the event loop
        await until(lambda: gauges(metrics.render().decode())["aioapp_event_loop_lag_seconds_count", ""])
    late = gauges(metrics.render().decode())
    assert late["aioapp_event_loop_lag_seconds_bucket", "le=0.05"] == 0
    usable[:] = [False, False]
    task = asyncio.create_task(metrics.vitals.run(credentials=lambda: usable[0], database=lambda: usable[1]))
    await asyncio.sleep(0.05)
    task.cancel()
    told = gauges(metrics.render().decode())
    assert told["aioapp_credentials_usable", ""] == told["aioapp_database_usable", ""] == 0


# The files for Prometheus and Grafana.

def existing() -> set[str]:
    """The names of all series that `/metrics` tells."""
    metrics = Metrics()
    everything(metrics, "x")
    metrics.ask(standings.Standings(
        keys=lambda: [Key(name="web", budget=TEN, created_at=AT)], sums=dict, everybody=everybody(TEN)))
    return {name for name, _ in gauges(metrics.render().decode())}


def named(expressions: list[str]) -> set[str]:
    found = set(re.findall(r"aioapp_\w+", " ".join(expressions)))
    assert found and all(expression.count("(") == expression.count(")") for expression in expressions)
    return found


def test_every_metric_of_the_example_rules_exists() -> None:
    [group] = yaml.safe_load((OPERATIONS / "alert-rules.yml").read_text())["groups"]
    assert named([rule["expr"] for rule in group["rules"]]) <= existing()
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in group["rules"])
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) >= 8


def test_every_metric_of_the_dashboard_exists_and_no_panel_covers_another() -> None:
    board = json.loads((OPERATIONS / "grafana-dashboard.json").read_text())
    panels = board["panels"]
    assert named([target["expr"] for panel in panels for target in panel["targets"]]) <= existing()
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in panels})
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
