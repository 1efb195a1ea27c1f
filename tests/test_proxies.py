"""Who calls, and where they reached us, behind proxies that are trusted, and whatever those who are not say of it."""
import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from aioapp.app import create_app, runner_of
from aioapp.settings import Settings
from aioapp.web.proxies import HOPS, PROXIES, Proxies, address_of, reached_at, remote_of
from tests.conftest import Serve
from tests.keyed import make_key, shown
from tests.processes import serving
from tests.test_shutdown import generate

OURS = ("10.0.0.0/8", "2001:db8:1::/48")
PROXY, INNER, CALLER, OTHER = "10.0.0.1", "10.0.0.2", "198.51.100.7", "203.0.113.9"
Header = tuple[str, str]


def asked(peer: str | None, headers: Sequence[Header], *, trusted: Sequence[str] = OURS) -> web.Request:
    """A request that came to `host.example` from this peer; None is one at the end of a Unix socket."""
    app = web.Application()
    app[PROXIES] = Proxies(trusted)
    transport = Mock()
    transport.get_extra_info = {"peername": "" if peer is None else (peer, 5)}.get
    request = make_mocked_request(
        "GET", "/", headers=CIMultiDict([("Host", "host.example"), *headers]), transport=transport, app=app)
    return request


def older(*values: str) -> list[Header]:
    return [("X-Forwarded-For", value) for value in values]


def newer(*values: str) -> list[Header]:
    return [("Forwarded", value) for value in values]


WHO: dict[str, tuple[str, list[Header], str]] = {
    "a stranger who says nothing": (CALLER, [], CALLER),
    "a stranger who says it is another": (CALLER, [*older(OTHER), *newer(f"for={OTHER}")], CALLER),
    "a stranger who says it is a proxy": (CALLER, older(PROXY), CALLER),
    "a proxy that says nothing": (PROXY, [], PROXY),
    "a proxy": (PROXY, older(CALLER), CALLER),
    "a proxy, of IPv6": ("2001:db8:1::5", older(CALLER), CALLER),
    "a proxy, mapped": (f"::ffff:{PROXY}", older(CALLER), CALLER),
    "a proxy of another network": ("11.0.0.1", older(CALLER), "11.0.0.1"),
    "a caller of IPv6": (PROXY, older("2001:db8::1"), "2001:db8::1"),
    "a caller of IPv6 with a port": (PROXY, older("[2001:db8::1]:4711"), "2001:db8::1"),
    "a caller that is mapped": (PROXY, older(f"::ffff:{CALLER}"), CALLER),
    "a caller with a port": (PROXY, older(f"{CALLER}:4711"), CALLER),
    "a caller with a zone": (PROXY, older("fe80::1%eth0"), "fe80::1"),
    "a caller in quotes": (PROXY, older(f'"{CALLER}"'), CALLER),
    "two proxies": (PROXY, older(f"{CALLER}, {INNER}"), CALLER),
    "two proxies in two headers": (PROXY, older(CALLER, INNER), CALLER),
    "forged, behind a proxy": (PROXY, older(f"{OTHER}, {CALLER}"), CALLER),
    "forged, in a header of its own": (PROXY, older(OTHER, CALLER), CALLER),
    "forged, behind two proxies": (PROXY, older(f"{OTHER}, {CALLER}, {INNER}"), CALLER),
    "forged as a proxy": (PROXY, older(f"{OTHER}, {PROXY}, {CALLER}"), CALLER),
    "only proxies": (PROXY, older("10.0.0.3, 10.0.0.2"), "10.0.0.3"),
    "empty": (PROXY, older(""), PROXY),
    "commas": (PROXY, older(f",, {CALLER} ,,"), CALLER),
    "garbage": (PROXY, older("garbage"), PROXY),
    "garbage before a caller": (PROXY, older(f"garbage, {CALLER}"), CALLER),
    "garbage before a proxy": (PROXY, older(f"{OTHER}, garbage, {INNER}"), INNER),
    "an octet too many": (PROXY, older("1.2.3.4.5"), PROXY),
    "digits that are none": (PROXY, older("١٢٧.0.0.1"), PROXY),
    "a long address": (PROXY, older("1" * 8000), PROXY),
    "1000 that are forged": (PROXY, older(*[", ".join([OTHER] * 100)] * 10, CALLER), CALLER),
    "1000 proxies": (PROXY, older(", ".join([OTHER, *[INNER] * 999])), INNER),
    "as many proxies as are looked at": (PROXY, older(", ".join([CALLER, *[INNER] * (HOPS - 1)])), CALLER),
    "one more": (PROXY, older(", ".join([CALLER, *[INNER] * HOPS])), INNER),
    "Forwarded": (PROXY, newer(f"for={CALLER}"), CALLER),
    "Forwarded, all of it": (PROXY, newer(f'For={CALLER};proto=https;by={PROXY};host="a.example:80"'), CALLER),
    "Forwarded, with spaces": (PROXY, newer(f"for={CALLER} ; proto=https , for={INNER}"), CALLER),
    "Forwarded, of IPv6": (PROXY, newer('for="[2001:db8::1]:4711"'), "2001:db8::1"),
    "Forwarded, without the quotes": (PROXY, newer("for=[2001:db8::1]:4711"), "2001:db8::1"),
    "Forwarded, with what is escaped": (PROXY, newer('for="198\\.51.100.7"'), CALLER),
    "Forwarded, with a port": (PROXY, newer(f'for="{CALLER}:4711"'), CALLER),
    "Forwarded, with a hidden port": (PROXY, newer(f'for="{CALLER}:_x1"'), CALLER),
    "Forwarded, unknown": (PROXY, newer("for=unknown"), PROXY),
    "Forwarded, hidden": (PROXY, newer(f"for={OTHER}, for=_hidden, for={INNER}"), INNER),
    "Forwarded, in two headers": (PROXY, newer(f"for={OTHER}, for={CALLER}", f"for={INNER}"), CALLER),
    "Forwarded, twice in one element": (PROXY, newer(f"for={CALLER};for={OTHER}"), CALLER),
    "Forwarded, a comma in quotes": (PROXY, newer(f'for={CALLER};by="a, for={OTHER}"'), CALLER),
    "Forwarded, a quote left open": (PROXY, newer(f'for={OTHER};by=", for={CALLER}'), PROXY),
    "Forwarded, a quote that ends in the next": (PROXY, newer(f'for={OTHER};by=", for="[2001:db8::1]"'), PROXY),
    "Forwarded, a quote left open in a header of its own": (PROXY, newer(f'for={OTHER};by="', f"for={CALLER}"), CALLER),
    "Forwarded, a backslash at the end": (PROXY, newer('for="\\'), PROXY),
    "Forwarded, garbage": (PROXY, newer("garbage"), PROXY),
    "Forwarded, nothing": (PROXY, newer(" , ;, "), PROXY),
    "Forwarded, 1000 that are forged": (
        PROXY, newer(*[", ".join([f"for={OTHER}"] * 100)] * 10, f"for={CALLER}"), CALLER),
    "both, that agree": (PROXY, [*older(CALLER), *newer(f"for={CALLER}")], CALLER),
    "both, of which one is forged": (PROXY, [*older(CALLER), *newer(f"for={OTHER}")], PROXY),
    "both, of which the other is forged": (PROXY, [*older(OTHER), *newer(f"for={CALLER}")], PROXY),
    "another header": (PROXY, [("X-Real-IP", OTHER), ("Via", "1.1 x"), ("X-Client-IP", OTHER)], PROXY),
}


@pytest.mark.parametrize("case", WHO)
def test_the_last_address_that_is_no_trusted_proxys_is_the_callers(case: str) -> None:
    peer, headers, caller = WHO[case]
    assert remote_of(asked(peer, headers)) == caller


@pytest.mark.parametrize("case", WHO)
def test_without_trusted_proxies_the_peer_is_the_caller_whatever_it_says(case: str) -> None:
    peer, headers, _ = WHO[case]
    assert remote_of(asked(peer, headers, trusted=())) == peer


@pytest.mark.parametrize(("trusted", "caller"), [(("unix",), CALLER), (("unix", *OURS), CALLER), (OURS, ""), ((), "")])
def test_a_proxy_at_the_end_of_a_unix_socket_is_named_unix(trusted: Sequence[str], caller: str) -> None:
    assert remote_of(asked(None, older(CALLER), trusted=trusted)) == caller


PROTO, HOST = "X-Forwarded-Proto", "X-Forwarded-Host"
WHERE: dict[str, tuple[str, list[Header], str]] = {
    "a stranger": (CALLER, [(PROTO, "https"), (HOST, "evil.example")], "http://host.example"),
    "a stranger's Forwarded": (CALLER, newer("proto=https;host=evil.example"), "http://host.example"),
    "a proxy that says nothing": (PROXY, [], "http://host.example"),
    "a proxy": (PROXY, [*older(CALLER), (PROTO, "https")], "https://host.example"),
    "a proxy that says no address": (PROXY, [(PROTO, "HTTPS")], "https://host.example"),
    "a proxy that says the host": (PROXY, [(PROTO, "https"), (HOST, "a.example:8443")], "https://a.example:8443"),
    "a proxy with Forwarded": (PROXY, newer(f'for={CALLER};proto=https;host="a.example:81"'), "https://a.example:81"),
    "forged, behind a proxy": (
        PROXY, newer(f"for={OTHER};proto=https, for={CALLER};proto=http"), "http://host.example"),
    "forged, in a list": (PROXY, [*older(f"{OTHER}, {CALLER}"), (PROTO, "https, http")], "http://host.example"),
    "two proxies": (PROXY, [*older(f"{CALLER}, {INNER}"), (PROTO, "https, http")], "https://host.example"),
    "two proxies, of which one says it": (
        PROXY, [*older(f"{CALLER}, {INNER}"), (PROTO, "https")], "https://host.example"),
    "both, that agree": (PROXY, [(PROTO, "https"), *newer("proto=https")], "https://host.example"),
    "both, that do not": (PROXY, [(PROTO, "https"), *newer("proto=http")], "http://host.example"),
    "garbage": (PROXY, [(PROTO, "gopher"), *older("x")], "http://host.example"),
}


@pytest.mark.parametrize("case", WHERE)
def test_a_trusted_proxy_says_where_the_server_was_reached(case: str) -> None:
    peer, headers, url = WHERE[case]
    assert str(reached_at(asked(peer, headers))) == url


@pytest.mark.parametrize("host", ["a b", "a/b", "a:99999", "user@a", "x" * 300 + ":x"])
def test_a_host_that_is_none_is_refused_from_a_proxy_too(host: str) -> None:
    with pytest.raises(Exception, match="names no host"):
        reached_at(asked(PROXY, [(HOST, host)]))


def test_an_address_is_what_is_left_without_its_port() -> None:
    assert [address_of(node) for node in ("", "1", "1.2.3.4:x y", "[::1", "::1]", "[1.2.3.4]", "::1")] == [
        None, None, None, None, None, "1.2.3.4", "::1"]


async def test_callers_without_keys_are_told_apart_behind_a_trusted_proxy(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    url = await serve(requests_per_minute=1, allow_anonymous=True, trusted_proxies=("127.0.0.0/8",))

    async def status(caller: str) -> int:
        async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}, headers=older(caller)) as response:
            return response.status

    assert [await status(caller) for caller in (CALLER, CALLER, OTHER, f"{OTHER}, {CALLER}", "x")] == [
        200, 429, 200, 429, 200]


async def test_the_connections_of_a_trusted_proxy_are_not_one_callers(serve: Serve, stack: AsyncExitStack) -> None:
    for trusted, most in (((), 2), (("127.0.0.1/32",), 8)):
        url = await serve(max_connections=8, trusted_proxies=trusted)
        held = []
        for _ in range(most + 1):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            stack.callback(writer.close)
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            held.append((await reader.readline()).split()[1])
        assert held == [b"200"] * most + [b"503" if trusted else b"429"]


async def test_a_program_at_the_end_of_a_unix_socket_says_who_calls(stack: AsyncExitStack, tmp_path: Path) -> None:
    app = create_app(Settings(simulate=True, simulate_pace=0, requests_per_minute=1, allow_anonymous=True,
                              trusted_proxies=("unix",), shutdown_timeout=0.1))
    runner = runner_of(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.UnixSite(runner, f"{tmp_path}/socket").start()
    http = await stack.enter_async_context(
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(f"{tmp_path}/socket")))
    told = []
    for caller in (CALLER, OTHER, CALLER):
        async with http.post("http://localhost/api/generate", json={"prompt": "Hi"}, headers=older(caller)) as response:
            told.append(response.status)
    assert told == [200, 200, 429]


async def test_who_comes_through_a_trusted_proxy_is_no_program_of_this_machine(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    make_key()
    url = await serve(trusted_proxies=("127.0.0.1/32",))
    for headers, status in (([], 200), (older(CALLER), 401), (older("127.0.0.1"), 401)):
        async with http.get(f"{url}/metrics", headers=headers) as response:
            assert response.status == status


async def test_a_session_begun_over_https_has_a_cookie_for_https_only_by_a_trusted_proxys_word(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    boss = make_key("boss", admin=True)
    headers = {PROTO: "https", "Origin": "https://host.example", "Host": "host.example"}
    for trusted, status in ((("127.0.0.1/32",), 303), (("10.0.0.0/8",), 401)):
        url = await serve(trusted_proxies=trusted)
        async with http.post(
                f"{url}/admin/session", data={"key": boss}, headers=headers, allow_redirects=False) as answer:
            assert answer.status == status
            assert status == 401 or "Secure" in answer.headers["Set-Cookie"]


async def test_the_log_names_the_caller_and_not_the_proxy(http: aiohttp.ClientSession) -> None:
    key = make_key()
    async with serving("--simulate", "--simulate-pace", "0", "--trusted-proxy", "127.0.0.1") as server:
        http.headers.update({**shown(key), "X-Forwarded-For": f"{OTHER}, {CALLER}"})
        assert (await generate(http, server))[0] == 200
        await server.says(rf"aioapp\.requests: {CALLER} web POST /api/generate 200")
        assert await server.end() == 0
