"""Keys over HTTP: made, shown, renewed and ended by administrators, who can never grant more than they have."""
import asyncio
import sqlite3
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from aioapp.app import create_app
from aioapp.endpoints.admin.key_schemas import asked_for, patch_asked_for
from aioapp.endpoints.admin.keys import CREATE, UPDATE
from aioapp.errors import Forbidden
from aioapp.keys import Key, Keyring
from aioapp.settings import Settings
from aioapp.store.embedded import keys as table
from aioapp.store.embedded.key_store import check, update
from aioapp.store.embedded.schema import migrate
from aioapp.web.context import SERVICES
from aioapp.web.validation import loaded, patch_of
from tests.conftest import Serve, start
from tests.contract import contract
from tests.generations import Clock
from tests.keyed import database, make_key, revoke, shown

Terms = dict[str, Any]
KEYS, ONE, NEW_SECRET = "/admin/keys", "/admin/keys/{name}", "/admin/keys/{name}/rotate"
OPERATIONS = (
    ("GET", KEYS), ("POST", KEYS), ("GET", ONE), ("PATCH", ONE), ("DELETE", ONE), ("POST", NEW_SECRET))
BODIES = {KEYS: {"name": "new"}, ONE: {"concurrency": 1}, NEW_SECRET: {"grace_seconds": 60}}
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"


def soon(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request by the key `by`, on the key `name` where there is one; `body` is what is sent, `raw` if it is bytes."""

    by: str | None = "boss"
    name: str = "web"
    body: Terms | None = None
    raw: bytes | None = None
    headers: Terms = field(default_factory=dict)


POSTED: list[tuple[int, Asked]] = [
    (413, Asked(raw=b" " * (2**20 + 1))),
    (415, Asked(raw=b"{}", headers={"Content-Type": "text/plain"})),
    (415, Asked(raw=b"{}", headers={"Content-Encoding": "deflate"})),
    (422, Asked(raw=b"[]")),
]
NO_PATCHES: list[Terms] = [
    {"name": "other"}, {"concurrency": 0}, {"budget": {"usd": 1}}, {"budget": {"per": "day"}}, {"budget": {}},
    {"budget": {"usd": None, "per": "day"}}, {"expires_at": "2020-01-01"}, {"models": []}, {"note": "a\nb"},
    {"owner": 201 * "o"}, {"note": "\u202eevil"}]
EVERYWHERE = [(401, Asked(by=None)), (403, Asked(by="web"))]
WAYS: dict[tuple[str, str], list[tuple[int, Asked]]] = {
    ("GET", KEYS): [(200, Asked()), *EVERYWHERE],
    ("POST", KEYS): [
        (201, Asked()), *EVERYWHERE, *POSTED, (403, Asked(by="small")), (409, Asked(body={"name": "web"})),
        (409, Asked(body={"name": "ended"})), (422, Asked(body={"name": "anonymous"})),
        (422, Asked(body={"name": "new", "budget": {"usd": 1e-10, "per": "day"}})),
        (422, Asked(body={"name": "new", "budget": {"usd": 1, "per": "day", "strict": 1}})),
        (422, Asked(body={"name": "new", "expires_at": "2020-01-01"})), (422, Asked(body={"name": "new", "note": ""})),
        (422, Asked(body={"name": "new", "owner": "a\u2028b"}))],
    ("GET", ONE): [(200, Asked()), (200, Asked(name="ended")), *EVERYWHERE, (404, Asked(name="nobody"))],
    ("PATCH", ONE): [
        (200, Asked()), (200, Asked(headers={"Content-Type": MERGE_PATCH})), (200, Asked(name="boss", raw=b"{}")),
        *EVERYWHERE, *POSTED, (403, Asked(by="small", body={"concurrency": 2})),
        (403, Asked(by="small", name="small", body={"concurrency": None})), (404, Asked(name="nobody")),
        (409, Asked(name="ended")), (415, Asked(raw=b"{}", headers={"Content-Type": "application/json-patch+json"})),
        *((422, Asked(body=body)) for body in NO_PATCHES)],
    ("DELETE", ONE): [(200, Asked()), *EVERYWHERE, (404, Asked(name="%00")), (409, Asked(name="ended"))],
    ("POST", NEW_SECRET): [
        (200, Asked()), *EVERYWHERE, *POSTED, (403, Asked(by="small")), (404, Asked(name="nobody")),
        (409, Asked(name="ended")), (422, Asked(body={"grace_seconds": -1}))],
}
CASES = [(*operation, status, asked) for operation, ways in WAYS.items() for status, asked in ways]
GRANTS: list[tuple[str, Terms, Terms, Terms]] = [
    *((limit, {limit: 10}, {limit: 10}, more) for limit in (
        "requests_per_minute", "tokens_per_minute", "concurrency") for more in ({limit: 11}, {})),
    *(("budget", {"budget": {"usd": usd, "per": per}}, {"budget": {"usd": 10, "per": within}}, more)
      for usd, per, within in ((10, "day", "day"), (10, "month", "month"), (310, "month", "day"))
      for more in ({}, *({"budget": {"usd": much + 1e-9, "per": each}} for much, each in ((usd, per), (10, "day"))))),
    ("budget", {"budget": {"usd": 10, "per": "day"}}, {"budget": {"usd": 1, "per": "day"}},
     {"budget": {"usd": 1, "per": "month"}}),
    *(("budget", {"budget": {"usd": 31, "per": own, "strict": True}},
       {"budget": {"usd": 1, "per": "day", "strict": True}}, {"budget": {"usd": 1, "per": "day", **more}})
      for own in ("day", "month") for more in ({}, {"strict": None}, {"strict": False})),
    ("budget", {"budget": {"usd": 1, "per": "day"}}, {"budget": {"usd": 1, "per": "day", "strict": True}},
     {"budget": {"usd": 2, "per": "day", "strict": True}}),
    *(("models", {"models": ["claude-sonnet-*", "x"]}, {"models": ["claude-sonnet-5*", "x"]}, more) for more in (
        {}, {"models": ["*"]}, {"models": ["claude-*"]}, {"models": ["x", "claude-opus-5-5"]}, {"models": ["x*"]})),
    *(("expires_at", {"expires_at": soon(10)}, {"expires_at": soon(10)}, more) for more in (
        {}, {"expires_at": soon(11)})),
]


async def ask(http: aiohttp.ClientSession, secret: str, method: str, url: str, **more: Any) -> Terms:
    """What an answer says that is no failure."""
    async with http.request(method, url, headers=shown(secret), **more) as response:
        assert response.ok, await response.text()
        said: Terms = await response.json()
    assert "secret" not in said or response.headers["Cache-Control"] == "no-store"
    return said


async def status(http: aiohttp.ClientSession, url: str, secret: str) -> int:
    """What whoever shows the secret gets of what every key may ask."""
    async with http.get(f"{url}/auth-status", headers=shown(secret)) as response:
        return response.status


@pytest.mark.parametrize(("method", "path", "expected", "asked"), CASES, ids=[
    f"{method}-{path}-{status}-{n}" for n, (method, path, status, _) in enumerate(CASES)])
async def test_every_answer_is_given_as_it_is_documented(
        serve: Serve, http: aiohttp.ClientSession, method: str, path: str, expected: int, asked: Asked) -> None:
    secrets = {"boss": make_key("boss", admin=True), "small": make_key("small", admin=True, concurrency=1),
               "web": make_key("web", concurrency=2), "ended": make_key("ended")}
    revoke("ended")
    headers = {"Content-Type": JSON, **asked.headers, **(shown(secrets[asked.by]) if asked.by else {})}
    sent: Terms = {"data": BytesIO(asked.raw)} if asked.raw else {"json": asked.body or BODIES.get(path)}
    url = await serve() + path.replace("{name}", asked.name)
    async with http.request(method, url, headers=headers, **(sent if method in ("POST", "PATCH") else {})) as response:
        assert response.status == expected, await response.text()
        await contract().check_response(path, response)
        assert not [secret for secret in secrets.values() if secret in await response.text()]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_where_there_are_no_keys_at_all_nobody_is_an_administrator(
        serve: Serve, http: aiohttp.ClientSession, method: str, path: str) -> None:
    async with http.request(method, await serve() + path.replace("{name}", "web")) as response:
        assert response.status == 403
        assert "aioapp keys create NAME --admin" in (await response.json())["detail"]
        await contract().check_response(path, response)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_a_database_that_has_gone_is_told_of_and_nothing_is_done(
        serve: Serve, http: aiohttp.ClientSession, method: str, path: str) -> None:
    boss, web_key = make_key("boss", admin=True), make_key("web")
    url, headers = await serve(), shown(boss)
    away = database().rename(database().with_suffix(".away"))
    asked = url + path.replace("{name}", "web")
    async with http.request(method, asked, headers=headers, json=BODIES.get(path)) as response:
        assert response.status == 503
        await contract().check_response(path, response)
    away.rename(database())
    async with asyncio.timeout(5):
        while await status(http, url, web_key) != 200:
            await asyncio.sleep(0.05)
    assert [key["name"] for key in (await ask(http, boss, "GET", url + KEYS))["keys"]] == ["boss", "web"]


def test_no_other_answer_is_documented() -> None:
    """Only our own fault is left out: nothing that a caller does brings one about."""
    for (method, path), ways in WAYS.items():
        assert contract().statuses(path, method) == {500, 503, *(status for status, _ in ways)}
    assert set(WAYS) == set(OPERATIONS) == {
        (method.upper(), path) for path, method, _ in contract().operations() if path.startswith(KEYS)}


@pytest.mark.parametrize(("dimension", "own", "within", "beyond"), GRANTS)
async def test_a_key_can_never_grant_more_than_it_has(
        serve: Serve, http: aiohttp.ClientSession, dimension: str, own: Terms, within: Terms, beyond: Terms) -> None:
    boss, url = make_key("boss", admin=True), await serve() + KEYS
    mine = (await ask(http, boss, "POST", url, json={"name": "mine", "admin": True, **own}))["secret"]
    theirs = (await ask(http, boss, "POST", url, json={"name": "theirs", **beyond}))["secret"]
    for path, body in ((KEYS, {"name": "more", **beyond}), (NEW_SECRET, BODIES[NEW_SECRET])):
        to = url.removesuffix(KEYS) + path.replace("{name}", "theirs")
        async with http.post(to, json=body, headers=shown(mine)) as response:
            assert response.status == 403, await response.text()
            assert (await response.json())["detail"] == f"Your key cannot grant more than it has: {dimension}."
    async with http.get(f"{url}/more", headers=shown(boss)) as response:
        assert response.status == 404
    assert await status(http, url.removesuffix(KEYS), theirs) == 200
    await ask(http, mine, "POST", url, json={"name": "less", "admin": True, **within})
    await ask(http, mine, "POST", f"{url}/less/rotate", json={})
    lifted: Terms = dict.fromkeys(own)
    more = lifted | beyond
    if more.get("budget"):
        more["budget"] = {"strict": None, **more["budget"]}
    for name, patch in (("theirs", {"note": "ours"}), ("theirs", lifted | within), ("less", more)):
        async with http.patch(f"{url}/{name}", json=patch, headers=shown(mine)) as response:
            assert response.status == 403, await response.text()
            assert (await response.json())["detail"] == f"Your key cannot grant more than it has: {dimension}."
    kept = (await ask(http, boss, "GET", f"{url}/less"))["key"]
    assert (await ask(http, mine, "PATCH", f"{url}/less", json={**within, "note": "ours"}))["key"] == {
        **kept, "note": "ours"}


@pytest.mark.parametrize(("asked", "strict"), [
    ({}, False), ({"strict": None}, False), ({"strict": False}, False), ({"strict": True}, True)])
async def test_a_budget_is_strict_where_that_is_asked_and_every_answer_tells(
        serve: Serve, http: aiohttp.ClientSession, asked: Terms, strict: bool) -> None:
    boss, url = make_key("boss", admin=True), await serve() + KEYS
    made = await ask(http, boss, "POST", url, json={"name": "new", "budget": {"usd": 5, "per": "day", **asked}})
    renewed = await ask(http, boss, "POST", f"{url}/new/rotate", json={})
    [_, listed] = (await ask(http, boss, "GET", url))["keys"]
    ended = await ask(http, boss, "DELETE", f"{url}/new")
    assert [key["budget"] for key in (made["key"], renewed["key"], listed, ended["key"])] == 4 * [
        {"usd": 5.0, "per": "day", "strict": strict}]


async def test_a_key_that_is_no_admins_makes_none_and_an_admins_own_can_be_rotated(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, caller, url = make_key("boss", admin=True, concurrency=3), make_key("web"), await serve()
    for path in (KEYS, "/admin/keys/boss/rotate", "/admin/keys/web/rotate"):
        async with http.post(url + path, json={"name": "x"}, headers=shown(caller)) as response:
            assert (response.status, (await response.json())["detail"]) == (403, "This needs an admin key.")
    renewed = await ask(http, boss, "POST", f"{url}/admin/keys/boss/rotate", json={"grace_seconds": 0})
    assert [key["name"] for key in (await ask(http, renewed["secret"], "GET", url + KEYS))["keys"]] == ["boss", "web"]


async def test_a_secret_that_was_replaced_cannot_outlive_its_grace_by_changing_keys(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    lost, url = make_key("boss", admin=True), await serve()
    make_key("web")
    renewed = (await ask(http, lost, "POST", f"{url}/admin/keys/boss/rotate", json={"grace_seconds": 3600}))["secret"]
    for method, path, body in (("POST", "/admin/keys/boss/rotate", {"grace_seconds": 0}),
                               ("POST", KEYS, {"name": "other", "admin": True}),
                               ("PATCH", "/admin/keys/web", {"admin": True}), ("DELETE", "/admin/keys/web", None)):
        async with http.request(method, url + path, json=body, headers=shown(lost)) as response:
            assert (response.status, "was replaced" in (await response.json())["detail"]) == (403, True)
    assert await status(http, url, lost) == await status(http, url, renewed) == 200


async def test_a_key_that_was_revoked_elsewhere_a_moment_ago_grants_nothing(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, url = make_key("boss", admin=True), await serve()
    revoke("boss")  # which this server may see half a second later
    async with http.post(url + KEYS, json={"name": "new"}, headers=shown(boss)) as response:
        assert response.status in (401, 403) and "revoked" in (await response.json())["detail"]
    left = make_key("left", admin=True)
    async with asyncio.timeout(5):
        while await status(http, url, left) != 200:
            await asyncio.sleep(0.05)
    assert [key["name"] for key in (await ask(http, left, "GET", url + KEYS))["keys"]] == ["boss", "left"]


COUNTS = st.none() | st.integers(1, 4)
BUDGETS = st.none() | st.fixed_dictionaries({
    "usd": st.sampled_from([1, 2, 31, 62, 1e-9]), "per": st.sampled_from(["day", "month"])}, optional={
        "strict": st.none() | st.booleans()})
PATTERNS = st.none() | st.lists(st.text("ab*", min_size=1, max_size=3), min_size=1, max_size=3)
WANTED = st.fixed_dictionaries({
    "requests_per_minute": COUNTS, "tokens_per_minute": COUNTS, "concurrency": COUNTS, "budget": BUDGETS,
    "models": PATTERNS, "expires_at": st.sampled_from([None, "2027-01-01", "2027-01-02"]),
    "admin": st.booleans()})


@given(root=WANTED, wanted=st.lists(st.tuples(st.integers(0, 9), WANTED), min_size=1, max_size=6))
def test_whatever_keys_grant_in_turn_none_has_more_than_the_first(root: Terms, wanted: list[tuple[int, Terms]]) -> None:
    at, connection = Clock().now, sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    first = asked_for(loaded(CREATE, {**root, "name": "first", "admin": True}), at=at)
    shown_once = {"first": table.create(connection, first, at=at)}
    granted: list[Key] = [first]
    for number, (by, terms) in enumerate(wanted):
        key = asked_for(loaded(CREATE, {**terms, "name": f"key-{number}"}), at=at)
        administrators = [key for key in granted if key.admin]
        granter = administrators[by % len(administrators)]
        try:
            check(connection, key, by=granter.caller(shown_once[granter.name].split("_")[1]), at=at)
        except Forbidden:
            continue
        shown_once[key.name] = table.create(connection, key, at=at)
        granted.append(key)
    connection.close()
    assert [key.exceeds(first) for key in granted] == [[]] * len(granted)


@given(root=WANTED, wanted=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), WANTED), max_size=6))
def test_whatever_keys_are_changed_to_in_turn_none_has_more_than_the_first_had(
        root: Terms, wanted: list[tuple[int, int, Terms]]) -> None:
    at, connection = Clock().now, sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    keys = [asked_for(loaded(CREATE, {**root, "name": name, "admin": True}), at=at) for name in ("first", "other", "x")]
    secrets = {key.name: table.create(connection, key, at=at).split("_")[1] for key in keys}
    for by, name, terms in wanted:
        granter = keys[by % 3].caller(secrets[keys[by % 3].name])
        patch = patch_asked_for(patch_of(UPDATE, terms), at=at)
        with suppress(Forbidden, ValueError):
            update(connection, name=keys[name % 3].name, patch=patch, by=granter, at=at)
    assert [key.exceeds(keys[0]) for key in table.listed(connection)] == [[]] * 3
    connection.close()


CONTENT_TYPES = {JSON: 200, MERGE_PATCH: 200, "application/merge-patch": 415, "": 415}


async def test_a_patch_is_a_merge_patch_by_either_of_its_names(serve: Serve, http: aiohttp.ClientSession) -> None:
    """What RFC 7396 §1 says: absent stays, null goes, an object is merged, and a list is replaced as a whole."""
    boss, url = make_key("boss", admin=True), await serve() + KEYS
    made = await ask(http, boss, "POST", url, json={
        "name": "web", "concurrency": 4, "budget": {"usd": 5, "per": "day", "strict": True}, "models": ["a", "b"],
        "owner": "ada@example.com"})
    for patch, changes in (
            ({}, {}), ({"budget": {"usd": 7}}, {"budget": {"usd": 7.0, "per": "day", "strict": True}}),
            ({"budget": {"strict": None}}, {"budget": {"usd": 7.0, "per": "day", "strict": False}}),
            ({"models": ["c"], "owner": None}, {"models": ["c"], "owner": None}),
            ({"budget": None, "models": None, "admin": True},
             {"budget": None, "spent_usd": None, "models": ["*"], "admin": True}),
            ({"admin": None, "note": "é"}, {"admin": False, "note": "é"})):
        made["key"] |= changes
        assert (await ask(http, boss, "PATCH", f"{url}/web", json=patch))["key"] == made["key"]
    for kind, expected in CONTENT_TYPES.items():
        async with http.patch(f"{url}/web", data=b"{}", headers={**shown(boss), "Content-Type": kind}) as response:
            assert response.status == expected


async def test_a_budget_that_cannot_be_is_told_where_it_is_wrong(serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, url = make_key("boss", admin=True), await serve() + KEYS
    for budget, at in (({"usd": 1}, "per"), ({"per": "day"}, "usd"), ({}, "usd")):
        async with http.patch(f"{url}/boss", json={"budget": budget}, headers=shown(boss)) as response:
            assert [row["loc"] for row in (await response.json())["detail"]] == [["body", "budget", at]]


async def test_new_terms_hold_for_the_next_call_and_an_answer_that_runs_goes_on(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    boss, web_key = make_key("boss", admin=True), make_key("web")
    url = await start(create_app(Settings(simulate=True, simulate_pace=0.05)), stack)

    async def generate() -> int:
        async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}, headers=shown(web_key)) as response:
            await response.read()
            return response.status

    first = asyncio.create_task(generate())
    await asyncio.sleep(0.05)
    await ask(http, boss, "PATCH", f"{url}{KEYS}/web", json={"models": ["claude-opus-*"]})
    assert (await generate(), await first) == (403, 200)
    await ask(http, boss, "PATCH", f"{url}{KEYS}/web", json={"models": None, "requests_per_minute": 1})
    assert (await generate(), await generate()) == (200, 429)


async def test_a_new_key_works_at_once_and_its_secret_is_in_no_later_answer(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    boss, url = make_key("boss", admin=True), await serve(keep_prompts=True)
    made = await ask(http, boss, "POST", url + KEYS, json={"name": "new", "models": ["claude-sonnet-*"]})
    assert made["key"]["models"] == ["claude-sonnet-*"] and not made["key"]["admin"]
    await ask(http, made["secret"], "POST", f"{url}/api/generate", json={"prompt": "Hi"})
    renewed = await ask(http, boss, "POST", f"{url}/admin/keys/new/rotate")  # without a body: a day of grace
    for secret in (renewed["secret"], made["secret"]):
        await ask(http, secret, "POST", f"{url}/api/generate", json={"prompt": "Hi"})
    for path in (KEYS, "/admin/keys/new", "/admin/usage?by=key", "/admin/requests", "/api/usage", "/metrics",
                 "/openapi.json", "/admin"):
        async with http.get(url + path, headers=shown(boss)) as response:
            told = await response.text()
        assert response.status == 200
        assert not [said for secret in (boss, made["secret"], renewed["secret"]) for said in (
            secret, *secret.removeprefix("aio_").split("_", 1)) if said in told]


async def test_a_secret_that_was_replaced_works_until_its_grace_ends(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    old, boss, clock = make_key("web"), make_key("boss", admin=True), Clock(datetime.now(UTC))

    async def clocked(app: web.Application) -> None:
        services = app[SERVICES]
        keyring = Keyring(services.keys, clock=clock)
        await keyring.refresh()
        app[SERVICES] = replace(services, authenticator=replace(services.authenticator, keyring=keyring))

    app = create_app(Settings(simulate=True))
    app.on_startup.append(clocked)
    url = await start(app, stack)
    new = (await ask(http, boss, "POST", f"{url}/admin/keys/web/rotate", json={"grace_seconds": 600}))["secret"]
    for seconds, expected in ((0, 200), (590, 200), (620, 401)):
        clock.now = datetime.now(UTC) + timedelta(seconds=seconds)
        assert (await status(http, url, old), await status(http, url, new)) == (expected, 200)


async def test_without_grace_a_replaced_secret_ends_at_once_and_so_does_a_revoked_key(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    old, boss, url = make_key("web"), make_key("boss", admin=True), await serve()
    new = (await ask(http, boss, "POST", f"{url}/admin/keys/web/rotate", json={"grace_seconds": 0}))["secret"]
    assert (await status(http, url, old), await status(http, url, new)) == (401, 200)
    ended = await ask(http, boss, "DELETE", f"{url}/admin/keys/web")
    assert ended["key"]["state"] == "revoked" and ended["key"]["revoked_at"]
    assert (await status(http, url, old), await status(http, url, new)) == (401, 401)
