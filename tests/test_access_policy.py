"""Closed by default, open by name: who is let in, and what is told to who is not."""
import asyncio
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from aioapp.app import create_app
from aioapp.keys import Keyring
from aioapp.settings import Settings
from aioapp.store.embedded.key_store import EmbeddedKeys
from aioapp.telemetry.logs import OneLine, OneObject
from aioapp.web.context import SERVICES
from aioapp.web.peer import network_of
from tests.conftest import Serve, start
from tests.keyed import make_key, revoke, shown
from tests.processes import until

OPEN = ("/", "/health", "/health/ready", "/health/live", "/docs", "/docs/assets/{name}", "/redoc", "/openapi.json",
        "/guide", "/guide/{page}", "/guide/assets/{name}",
        "/api/hello")
ADMIN_ONLY = ("/admin",)
PAST = datetime.now(UTC) - timedelta(days=2)
HANDSHAKE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
             "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
HOSTILE = {
    "empty": "", "blank": " ", "sql": "' OR 1=1; DROP TABLE keys; --", "prefix": "aio_", "id": "aio_0123456789abcdef_",
    "unknown": "aio_0123456789abcdef_" + 43 * "x", "long": 7000 * "x", "non-ascii": "aio_käse_ü",
    "digits": "aio_" + 16 * "\u0661" + "_" + 43 * "x", "percent": "%00%0a", "traversal": "../../etc/passwd",
}


def application() -> web.Application:
    async def own(request: web.Request) -> web.Response:
        return web.Response(text="mine")

    app = create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2))
    app.router.add_get("/of/my/own", own)
    return app


def routes() -> Iterator[tuple[str, str]]:
    for route in application().router.routes():
        if route.resource is not None and route.method != "OPTIONS":
            yield route.method, route.resource.canonical


CLOSED = sorted({(method, path) for method, path in routes() if path not in OPEN})


def test_every_route_is_known_here() -> None:
    paths = {path for _, path in routes()}
    assert set(OPEN) < paths and {"/of/my/own", "/api/generate", "/admin", "/metrics"} < paths
    assert len(CLOSED) > 20


@pytest.fixture
async def guarded(stack: AsyncExitStack) -> str:
    """A server with keys: one that works, and some that do no more."""
    make_key("web")
    return await start(application(), stack)


def refused_keys() -> dict[str, str]:
    """What is shown and must not be taken, by what is wrong with it."""
    good = make_key("good", admin=True)
    make_key("gone", admin=True)
    keys = {
        "wrong": good[:-1] + ("A" if good[-1] != "A" else "B"), "truncated": good[:-1], "doubled": good + good,
        "expired": make_key("old", admin=True, at=PAST, expires_at=PAST + timedelta(days=1)),
        "revoked": make_key("ended", admin=True), "upper case": good.upper(), **HOSTILE,
    }
    revoke("ended")
    return keys


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_every_other_route_refuses_whoever_shows_no_key_or_a_bad_one(
        stack: AsyncExitStack, http: aiohttp.ClientSession, method: str, path: str) -> None:
    keys = refused_keys()
    url = await start(application(), stack) + path.replace("{name}", "web")
    sent: list[dict[str, str]] = [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}]
    if "\n" not in path:
        sent += [{"X-API-Key": key} for key in keys.values()]
        sent += [{"Authorization": f"Bearer {key}"} for key in keys.values()]
        sent += [{"Cookie": f"aioapp_admin={key}"} for key in keys.values() if key.isascii() and len(key) < 4000]
    for headers in sent:
        headers = {**headers, "X-Forwarded-For": "203.0.113.9"} if path == "/metrics" else headers
        async with http.request(method, url, headers=headers, allow_redirects=False) as response:
            assert response.status in (401, 403), (headers, response.status)
            told = await response.text()
        assert response.status != 401 or response.headers["WWW-Authenticate"].startswith("Bearer")
        assert not [key for key in keys.values() if len(key) > 8 and key in told]


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path in CLOSED if path.startswith("/admin")])
async def test_a_key_that_is_no_admins_gets_nowhere_in_the_administration(
        guarded: str, http: aiohttp.ClientSession, method: str, path: str) -> None:
    url = guarded + path.replace("{name}", "web")
    async with http.request(method, url, headers=shown(make_key("mine")), allow_redirects=False) as response:
        await asyncio.sleep(0)
        assert response.status in (401, 403)


@pytest.mark.parametrize("path", OPEN)
async def test_what_is_open_needs_no_key(guarded: str, http: aiohttp.ClientSession, path: str) -> None:
    name = "guide.css" if path.startswith("/guide") else "redoc.js"
    url = guarded + path.replace("{name}", name).replace("{page}", "keys")
    method = "HEAD" if path == "/api/hello" else "GET"
    for headers in ({}, {"X-API-Key": "nonsense"}):
        async with http.request(method, url, headers=headers) as response:
            assert response.status == 200


@pytest.mark.parametrize("header", ["X-API-Key", "x-api-key", "Authorization", "authorization"])
async def test_a_key_is_taken_in_either_header(
        stack: AsyncExitStack, http: aiohttp.ClientSession, header: str) -> None:
    key = make_key()
    url = await start(application(), stack)
    scheme = "bearer " if header.islower() else "Bearer "
    value = key if "key" in header.lower() else scheme + key
    async with http.get(f"{url}/of/my/own", headers={header: value}) as response:
        assert (response.status, await response.text()) == (200, "mine")


async def test_a_key_in_the_query_or_in_another_cookie_is_not_looked_at(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    key = make_key(admin=True)
    url = await start(application(), stack)
    for query in ("key", "api_key", "access_token", "x-api-key"):
        async with http.get(f"{url}/of/my/own?{query}={key}", headers={"Cookie": f"aioapp_admin={key}"}) as response:
            assert response.status == 401


async def test_a_path_that_is_none_is_not_told_from_one_that_is_without_a_key(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    key = make_key()
    url = await start(application(), stack)
    async with http.get(f"{url}/nonesuch") as response:
        assert response.status == 401
    async with http.delete(f"{url}/health") as response:
        assert response.status == 401
    async with http.get(f"{url}/nonesuch", headers=shown(key)) as response:
        assert response.status == 404


async def test_a_preflight_passes_without_a_key_because_browsers_send_none_with_it(
        guarded: str, http: aiohttp.ClientSession) -> None:
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST",
               "Access-Control-Request-Headers": "x-api-key"}
    async with http.options(f"{guarded}/api/generate", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Headers"].lower() == "x-api-key"
    async with http.options(f"{guarded}/api/generate") as response:
        assert response.status == 401


async def test_no_header_makes_a_preflight_of_a_request_that_a_route_of_ones_own_would_take(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    make_key()
    app = application()
    app.router.add_route("*", "/proxy/{tail:.*}", answered)
    url = await start(app, stack)
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    async with http.options(f"{url}/proxy/x", headers=headers) as response:
        assert response.status == 401


async def answered(request: web.Request) -> web.Response:
    return web.Response(text="mine")


async def test_a_route_of_ones_own_is_closed_whose_path_reads_like_an_open_one(
        stack: AsyncExitStack, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    key = make_key()
    (tmp_path / "secret.txt").write_text("secret")
    app, domain = application(), web.Application()
    for path in ("/", "/health"):
        domain.router.add_get(path, answered)
    app.add_domain("internal.example", domain)
    for prefix in ("/docs", "/admin"):
        app.router.add_static(prefix, tmp_path)
    url = await start(app, stack)
    for path in ("/", "/health", "/docs/secret.txt", "/admin/secret.txt"):
        headers = {"Host": "internal.example"} if len(path) < 9 else {}
        async with http.get(url + path, headers=headers) as refused, http.get(
                url + path, headers=headers | shown(key)) as response:
            assert (refused.status, response.status) == (401, 200)


async def test_a_sub_application_is_answered_for_a_key_with_limits_too(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    key = make_key(requests_per_minute=5)
    app, below = application(), web.Application()
    below.router.add_get("/x", answered)
    app.add_subapp("/sub", below)
    async with http.get(f"{await start(app, stack)}/sub/x", headers=shown(key)) as response:
        assert (response.status, response.headers["RateLimit"][:15]) == (200, '"requests";r=4;')


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_page_from_elsewhere_does_not_read_the_metrics(
        stack: AsyncExitStack, http: aiohttp.ClientSession, keyed: bool) -> None:
    if keyed:
        make_key()
    url = await start(application(), stack)
    async with http.get(f"{url}/metrics", headers={"Origin": "https://evil.example"}) as response:
        assert response.status == (401 if keyed else 403)


@pytest.mark.parametrize(("address", "caller"), [
    ("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002::/64"),
    ("fe80::1%eth0", "fe80:0000:0000:0000::/64"), ("", "")])
def test_a_caller_without_a_key_is_an_address_of_ipv4_or_a_network_of_ipv6(address: str, caller: str) -> None:
    request = make_mocked_request("GET", "/").clone(remote=address)
    assert network_of(request.remote or "") == caller


async def test_a_key_of_a_megabyte_is_refused_before_it_is_a_key(
        guarded: str, http: aiohttp.ClientSession) -> None:
    """aiohttp itself takes no header over 8 KiB."""
    async with http.get(f"{guarded}/of/my/own", headers={"X-API-Key": "x" * 2**20}) as response:
        assert response.status == 431


async def test_a_line_break_in_a_key_makes_no_second_header(guarded: str) -> None:
    address = guarded.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(address[0], int(address[1]))
    writer.write(b"GET /of/my/own HTTP/1.1\r\nHost: localhost\r\nX-API-Key: aio_\n X-Evil: 1\r\n"
                 b"Connection: close\r\n\r\n")
    status = int((await reader.read()).split()[1])
    writer.close()
    assert status in (400, 401)


async def test_every_bad_key_is_refused_in_about_the_same_time(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    keys = {name: key for name, key in refused_keys().items() if name not in ("long", "doubled")}
    url = f"{await start(application(), stack)}/api/usage"
    times: dict[str, list[float]] = {name: [] for name in keys}
    for _ in range(30):
        for name, key in keys.items():
            began = time.perf_counter()
            async with http.get(url, headers={"X-API-Key": key}) as response:
                assert response.status == 401
            times[name].append(time.perf_counter() - began)
    medians = [statistics.median(taken) for taken in times.values()]
    assert max(medians) < 2.5 * min(medians), {name: statistics.median(taken) for name, taken in times.items()}


async def test_only_who_has_the_secret_learns_why_it_is_refused(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    keys = refused_keys()
    url = await start(application(), stack)
    told = {}
    for name in ("wrong", "unknown", "sql", "expired", "revoked"):
        async with http.get(f"{url}/api/usage", headers={"X-API-Key": keys[name]}) as response:
            told[name] = (await response.json())["detail"]
    assert told["wrong"] == told["unknown"] == told["sql"] == "This key is not known."
    assert (told["expired"], told["revoked"]) == ("This key has expired.", "This key was revoked.")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.8.9.1:99", "[::1]", "[::1]:80",
                                  "app.localhost"])
async def test_without_keys_a_name_of_loopback_is_answered(
        serve: Serve, http: aiohttp.ClientSession, host: str) -> None:
    async with http.post(f"{await serve()}/api/generate", json={"prompt": "Hi"}, headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "",
                                  "[::2]", "localhost:80@evil.example", "a b"])
@pytest.mark.parametrize("path", ["/", "/health", "/auth-status", "/openapi.json", "/metrics", "/of/my/own"])
async def test_without_keys_any_other_name_is_refused_lest_a_page_of_that_name_asks(
        stack: AsyncExitStack, http: aiohttp.ClientSession, host: str, path: str) -> None:
    async with http.get(await start(application(), stack) + path, headers={"Host": host}) as response:
        assert response.status == 403
        assert "--allow-anonymous" in (await response.json())["detail"]


async def test_with_keys_the_name_does_not_matter(guarded: str, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{guarded}/health", headers={"Host": "api.example.com"}) as response:
        assert response.status == 200


async def test_allow_anonymous_lets_in_everybody_until_there_is_a_key(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    url = await serve(allow_anonymous=True)
    async with http.get(f"{url}/auth-status", headers={"Host": "api.example.com"}) as response:
        assert response.status == 200
    key = make_key()
    async with asyncio.timeout(5):
        while True:
            async with http.get(f"{url}/auth-status", headers={"Host": "api.example.com"}) as response:
                if response.status == 401:
                    break
            await asyncio.sleep(0.05)
    async with http.get(f"{url}/auth-status", headers=shown(key)) as response:
        assert response.status == 200


async def test_a_key_that_is_revoked_is_refused_within_a_second_without_a_restart(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    key = make_key()
    url = await start(application(), stack)
    async with http.get(f"{url}/auth-status", headers=shown(key)) as response:
        assert response.status == 200
    revoke("web")
    began = time.monotonic()
    while True:
        async with http.get(f"{url}/auth-status", headers=shown(key)) as response:
            if response.status == 401:
                break
        assert time.monotonic() - began < 3
        await asyncio.sleep(0.05)


async def test_a_database_that_hangs_closes_the_door_after_five_seconds_and_opens_it_again_by_itself(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    key, passed, over, app = make_key(admin=True), [0.0], threading.Event(), application()

    async def clocked(app: web.Application) -> None:
        services = app[SERVICES]
        keyring = Keyring(services.keys, monotonic=lambda: passed[0])
        await keyring.refresh()
        app[SERVICES] = replace(services, authenticator=replace(services.authenticator, keyring=keyring))

    async def statuses() -> list[int]:
        found = []
        for path in ("/of/my/own", "/admin", "/admin/keys", "/health", "/health/live"):
            async with http.get(url + path, headers=shown(key)) as response:
                found.append(response.status)
                assert response.status == 200 or path == "/health" or response.headers["Retry-After"] == "5"
        return found

    app.on_startup.append(clocked)
    url = await start(app, stack)
    assert await statuses() == [200, 200, 200, 200, 200]
    keys, keyring = app[SERVICES].keys, app[SERVICES].authenticator.keyring
    assert isinstance(keys, EmbeddedKeys)
    waiting = [asyncio.create_task(keys._database.read(lambda connection: over.wait())),
               asyncio.create_task(keyring.refresh())]
    await asyncio.sleep(0)
    passed[0] += 5.5
    assert await statuses() == [503, 503, 503, 503, 200]
    over.set()
    await asyncio.wait(waiting)
    await keyring.refresh()
    assert await statuses() == [200, 200, 200, 200, 200]


@pytest.mark.parametrize("proxied", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Proto"])
async def test_metrics_are_for_this_machine_and_for_admin_keys(
        stack: AsyncExitStack, http: aiohttp.ClientSession, proxied: str) -> None:
    admin, caller = make_key("admin", admin=True), make_key("web")
    url = f"{await start(application(), stack)}/metrics"

    async def status(**given: str) -> int:
        headers = {name.replace("_", "-"): value for name, value in given.items()}
        async with http.get(url, headers=headers) as response:
            return response.status

    far = {proxied: "203.0.113.9"}
    assert await status() == 200
    assert await status(Host="metrics.example") == 401
    assert await status(**far) == 401
    assert await status(**far, X_API_Key=caller) == 403
    assert await status(**far, X_API_Key=admin) == 200


OURS, EVIL = "https://ours.example", "https://evil.example"
NAMED: dict[str, tuple[str, str, dict[str, str], str | None]] = {
    "a page that may call": ("GET", "/health", {"Origin": OURS}, None),
    "a page that may not": ("GET", "/health", {"Origin": EVIL}, f"origin {EVIL}"),
    "a page that asks whether it may": ("OPTIONS", "/api/generate", {
        "Origin": EVIL, "Access-Control-Request-Method": "POST"}, f"origin {EVIL}"),
    "a page of nowhere": ("GET", "/nonesuch", {"Origin": "null"}, "origin null"),
    "a page that opens a socket": ("GET", "/ws/generate", {"Origin": EVIL, **HANDSHAKE}, f"origin {EVIL}"),
    "a page of this server": ("GET", "/health", {"Origin": "http://a.localhost", "Host": "a.localhost"}, None),
    "a name that is none of loopback": ("GET", "/health", {"Host": "evil.example:80"}, "host evil.example:80"),
    "no name": ("GET", "/health", {"Host": ""}, "host "),
    "a name that is long": ("GET", "/health", {"Host": 5000 * "x"}, "host " + 300 * "x"),
    "an origin that is a line": (
        "GET", "/health", {"Origin": "x\x85INFO \u202eforged"}, "origin x\\x85INFO \\u202eforged"),
}


async def test_a_refused_origin_or_host_is_named_in_the_log_and_forges_no_line(
        serve: Serve, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    url, forms = await serve(cors_origins=(OURS,)), (OneLine(), OneObject())
    caplog.set_level("DEBUG", "aioapp.requests")
    for method, path, headers, named in NAMED.values():
        caplog.clear()
        async with http.request(method, url + path, headers=headers):
            pass
        await until(lambda: caplog.records)
        line, json_line = (form.format(caplog.records[-1]) for form in forms)
        assert line.isprintable() and line.partition(" refused ")[2] == (named or "")
        said = json.loads(json_line).get("refused")
        assert said == (named and named.encode().decode("unicode_escape")) or "forged" in said


async def test_a_page_from_elsewhere_that_brings_the_administrators_cookie_is_named_too(
        serve: Serve, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    make_key("boss", admin=True)
    url, headers = await serve(), {"Origin": EVIL, "Cookie": "aioapp_admin=x"}
    caplog.set_level("INFO", "aioapp.requests")
    for more in ({}, {"Host": "a b"}):
        caplog.clear()
        async with http.get(f"{url}/admin/keys", headers={**headers, **more}) as response:
            assert response.status == (400 if more else 401)
        await until(lambda: caplog.records)
        assert caplog.records[-1].getMessage().endswith(f" refused origin {EVIL}")
