"""Connections to Claude."""
import json

import aiohttp
import pytest

from aioapp.upstream.session import open_transport, proxy_for
from tests.conftest import Serve
from tests.upstreams import MESSAGE, Connection, upstream, whole

URL = "http://claude.test/v1/messages"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_environment_names_the_proxy_and_its_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for(URL) is None
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert proxy_for(URL) == "http://proxy:3128"
    assert proxy_for(URL.replace("http", "https")) is None
    assert [proxy_for(f"http://{host}:8000") for host in ("127.0.0.1", "localhost", "[::1]")] == [None] * 3
    monkeypatch.setenv("no_proxy", "claude.test")
    assert proxy_for(URL) is None


async def test_a_call_goes_through_the_proxy(
        serve: Serve, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(whole) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with http.post(f"{await serve('http://claude.test')}/api/generate", json={"prompt": "Hi"}) as response:
            assert response.status == 200
    assert proxy.seen[0].head == f"POST {URL} HTTP/1.1"


@pytest.mark.parametrize("proxied", [False, True])
async def test_no_cookie_is_kept_and_no_compression_asked_for(
        proxied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def baking(connection: Connection) -> None:
        await connection.answer(200, json.dumps(MESSAGE).encode(), set_cookie="session=1")

    async with upstream(baking) as server:
        monkeypatch.setenv("http_proxy", server.url if proxied else "")
        url = "http://claude.test/" if proxied else server.url
        async with open_transport(url, connections=1, timeout=5) as transport:
            for _ in range(2):
                response = await transport.request("POST", "", headers={}, body=b"{}", silence=5)
                while await response.read():
                    pass
                response.release()
    assert "cookie" not in server.seen[1].headers
    assert server.seen[0].headers["accept-encoding"] == "identity"
    assert server.seen[0].headers["user-agent"].startswith("aioapp/")
