"""Who did what to which key: all that was done and nothing else, to be read by administrators and changed by nobody."""
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioapp.keys.audit import DEEDS
from aioapp.store.embedded import audit
from aioapp.store.embedded.database import connect
from tests.conftest import Serve
from tests.contract import contract
from tests.keyed import database, make_key, shown

AUDIT = "/admin/audit"
AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


async def entries(http: aiohttp.ClientSession, url: str, secret: str, **query: Any) -> dict[str, Any]:
    async with http.get(url + AUDIT, params=query, headers=shown(secret)) as response:
        assert response.status == 200
        await contract().check_response(AUDIT, response)
        told: dict[str, Any] = await response.json()
        return told


async def test_every_change_is_told_with_who_made_it_and_what_it_changed(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, url = make_key("boss", admin=True), await serve()
    began = datetime.now(UTC)
    budget = {"usd": 5.0, "per": "day", "strict": True}
    for method, path, body in (
            ("POST", "", {"name": "web", "admin": True, "budget": budget, "owner": "ada@example.com"}),
            ("PATCH", "/web", {"admin": None, "budget": None, "models": ["a", "b"], "concurrency": 2}),
            ("PATCH", "/web", {"concurrency": 2}),  # which it is
            ("POST", "/web/rotate", {"grace_seconds": 0}), ("DELETE", "/web", None)):
        async with http.request(method, f"{url}/admin/keys{path}", json=body, headers=shown(boss)) as response:
            assert response.ok
    told = await entries(http, url, boss)
    assert [(entry["by"], entry["what"], entry["key"]) for entry in told["entries"]] == [
        ("boss", what, "web") for what in ("revoked", "rotated", "changed", "created")]
    assert all(began <= datetime.fromisoformat(entry["at"]) <= datetime.now(UTC) for entry in told["entries"])
    assert [{change["field"]: (change["from"], change["to"]) for change in entry["changes"]}
            for entry in told["entries"]] == [
        {}, {}, {"admin": (True, False), "concurrency": (None, 2), "budget": (budget, None),
                 "models": (["*"], ["a", "b"])},
        {"admin": (False, True), "budget": (None, budget), "owner": (None, "ada@example.com")}]


async def test_what_is_refused_is_not_told_as_done(serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, small, url = make_key("boss", admin=True), make_key("small", admin=True, concurrency=1), await serve()
    for method, path, body, status in (
            ("POST", "", {"name": "new"}, 403), ("PATCH", "/boss", {"note": "x"}, 403),
            ("POST", "", {"name": "boss", "concurrency": 1}, 409),
            ("PATCH", "/small", {"budget": {"usd": 1}}, 422), ("DELETE", "/nobody", None, 404)):
        async with http.request(method, f"{url}/admin/keys{path}", json=body, headers=shown(small)) as response:
            assert response.status == status, await response.text()
    assert (await entries(http, url, boss))["entries"] == []


async def test_pages_follow_each_other_while_more_is_done(serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, url = make_key("boss", admin=True), await serve()

    async def make(*names: str) -> None:
        for name in names:
            async with http.post(f"{url}/admin/keys", json={"name": name}, headers=shown(boss)) as response:
                assert response.status == 201

    await make("a", "b", "c", "d", "e")
    seen: list[str] = []
    cursor: dict[str, int | None] = {}
    for more in ("f", "g", "h"):
        page = await entries(http, url, boss, limit=2, **cursor)
        seen += [entry["key"] for entry in page["entries"]]
        cursor = {"cursor": page["next"]}
        await make(more)
    assert (seen, cursor) == (["e", "d", "c", "b", "a"], {"cursor": None})
    assert [entry["key"] for entry in (await entries(http, url, boss, key="b"))["entries"]] == ["b"]
    assert (await entries(http, url, boss, key="nobody"))["entries"] == []


@pytest.mark.parametrize(("query", "status"), [
    ("", 401), ("limit=0", 422), ("limit=501", 422), ("cursor=0", 422), ("cursor=x", 422), ("since=1", 422)])
async def test_every_other_answer_is_as_it_is_documented(
        serve: Serve, http: aiohttp.ClientSession, query: str, status: int) -> None:
    boss, caller, url = make_key("boss", admin=True), make_key("web"), await serve()
    headers = [{}] if status == 401 else [shown(boss)]
    for shows, expected in ((headers[0], status), (shown(caller), 403)):
        async with http.get(f"{url}{AUDIT}?{query}", headers=shows) as response:
            assert response.status == expected
            await contract().check_response(AUDIT, response)
    assert contract().statuses(AUDIT, "get") == {200, 401, 403, 422, 500, 503}


def recorded(path: Path) -> sqlite3.Connection:
    connection = connect(path, create=True)
    for number, deed in enumerate(DEEDS):
        audit.record(connection, deed, key=f"key-{number}", by=None, at=AT + timedelta(days=number))
    return connection


@pytest.mark.parametrize("change", [
    "UPDATE audit SET who = 'somebody'", "DELETE FROM audit WHERE number = 1", "DELETE FROM audit",
    "INSERT INTO audit VALUES (9, '', '', 'invented', '', '')"])
def test_what_was_noted_is_neither_changed_nor_removed(tmp_path: Path, change: str) -> None:
    with closing(recorded(tmp_path / "aioapp.db")) as connection:
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(change)
        assert [entry.deed for entry in audit.page(connection, limit=9, before=None, key=None).entries] == [
            *reversed(DEEDS)]


@pytest.mark.parametrize("values", ["'soon', 'a', 'created', 'b', '[]'", "'2026-11-23', 'a', 'created', 'b', '[]'",
                                    "'2026-11-23T09:30:00+00:00', 'a', 'created', 'b', '{'",
                                    "'2026-11-23T09:30:00+00:00', 'a', 'created', 'b', '[{\"x\": 1}]'"])
def test_an_entry_that_means_nothing_is_a_broken_database(tmp_path: Path, values: str) -> None:
    with closing(recorded(tmp_path / "aioapp.db")) as connection:
        connection.execute(f"INSERT INTO audit (at, who, deed, key, changes) VALUES ({values})")
        with pytest.raises(sqlite3.DataError, match="of the trail"):
            audit.page(connection, limit=9, before=None, key=None)


async def test_nothing_of_a_secret_is_in_the_trail(serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, url = make_key("boss", admin=True), await serve()
    async with http.post(f"{url}/admin/keys", json={"name": "web"}, headers=shown(boss)) as response:
        secret = (await response.json())["secret"]
    with closing(sqlite3.connect(database())) as connection:
        kept = str(connection.execute("SELECT * FROM audit").fetchall())
    assert "web" in kept and secret[4:20] not in kept and secret[-43:] not in kept
