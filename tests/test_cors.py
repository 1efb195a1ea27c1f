"""Which origins' pages may call, as a browser asks it (https://fetch.spec.whatwg.org/#http-cors-protocol)."""
from io import BytesIO

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from aioapp.settings import SettingError, Settings
from tests.conftest import Serve

OURS, THEIRS = "https://ours.example", "https://theirs.example"
ALLOWED, CREDENTIALS = "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"
EXPOSED = {"X-Request-ID", "X-Process-Time", "Retry-After", "RateLimit", "RateLimit-Policy"}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, x-request-id"}
ANSWERS = [
    (200, "POST", "/api/generate", b'{"prompt": "Hi"}'),
    (200, "POST", "/api/stream", b'{"prompt": "Hi"}'),
    (200, "GET", "/openapi.json", None),
    (200, "GET", "/docs/assets/swagger.js", None),
    (200, "HEAD", "/health", None),
    (400, "POST", "/api/stream", b'{"prompt": "Hi", "model": "claude-nonesuch-5-5"}'),
    (404, "GET", "/nonesuch", None),
    (404, "GET", "/docs/assets/nonesuch", None),
    (405, "DELETE", "/api/generate", None),
    (413, "POST", "/api/generate", b" " * (2**20 + 1)),
    (422, "POST", "/api/generate", b"{}"),
    (426, "GET", "/ws/generate", None),
]


async def sent(
        http: aiohttp.ClientSession, method: str, url: str, raw: bytes | None = None, *, origin: str | None = None,
) -> tuple[int, CIMultiDictProxy[str]]:
    """Status and headers of the answer."""
    headers = {"Content-Type": "application/json"} | ({} if origin is None else {"Origin": origin})
    data = None if raw is None else BytesIO(raw)
    async with http.request(method, url, data=data, headers=headers) as response:
        return response.status, response.headers


async def preflight(http: aiohttp.ClientSession, url: str) -> tuple[int, CIMultiDictProxy[str]]:
    async with http.options(url, headers={"Origin": OURS, **PREFLIGHT}) as response:
        return response.status, response.headers


def listed(headers: CIMultiDictProxy[str], name: str) -> set[str]:
    return {part.strip().lower() for value in headers.getall(name, ()) for part in value.split(",")}


@pytest.mark.parametrize(("status", "method", "path", "raw"), ANSWERS, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("origins", [("*",), (OURS,), ("https://other.example", OURS)], ids=len)
async def test_a_page_that_may_call_can_read_every_answer(
        serve: Serve, http: aiohttp.ClientSession, origins: tuple[str, ...], status: int, method: str, path: str,
        raw: bytes | None) -> None:
    given, headers = await sent(http, method, await serve(cors_origins=origins) + path, raw, origin=OURS)
    assert (given, headers.getall(ALLOWED)) == (status, [OURS])
    assert listed(headers, "Access-Control-Expose-Headers") == {name.lower() for name in EXPOSED}
    assert CREDENTIALS not in headers
    assert "origin" in listed(headers, "Vary")


@pytest.mark.parametrize(("status", "method", "path", "raw"), ANSWERS, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("origin", [THEIRS, "http://ours.example", OURS + ":8443", OURS + ".evil.example", "null", ""])
async def test_a_page_of_another_origin_can_read_none(
        serve: Serve, http: aiohttp.ClientSession, origin: str, status: int, method: str, path: str,
        raw: bytes | None) -> None:
    given, headers = await sent(http, method, await serve(cors_origins=(OURS,)) + path, raw, origin=origin)
    assert given == (403 if path == "/ws/generate" else status)
    assert [name for name in headers if name.lower().startswith("access-control-")] == []
    assert "origin" in listed(headers, "Vary")


@pytest.mark.parametrize(("status", "method", "path", "raw"), ANSWERS, ids=lambda value: str(value)[:20])
async def test_who_is_no_page_gets_the_same_answer_and_no_such_headers(
        serve: Serve, http: aiohttp.ClientSession, status: int, method: str, path: str, raw: bytes | None) -> None:
    given, headers = await sent(http, method, await serve() + path, raw)
    assert (given, "origin" in listed(headers, "Vary")) == (status, True)
    assert [name for name in headers if name.lower().startswith("access-control-")] == []


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/stream", "/api/chat/stream"])
@pytest.mark.parametrize("origins", [("*",), (OURS,)], ids=len)
async def test_a_preflight_of_an_origin_that_may_call_is_granted(
        serve: Serve, http: aiohttp.ClientSession, origins: tuple[str, ...], path: str) -> None:
    url = await serve(cors_origins=origins) + path
    status, headers = await preflight(http, url)
    assert (status, headers.getall(ALLOWED)) == (200, [OURS])
    assert listed(headers, "Access-Control-Allow-Methods") == {"post"}
    assert listed(headers, "Access-Control-Allow-Headers") == {"content-type", "x-request-id"}
    assert (headers["Access-Control-Max-Age"], "origin" in listed(headers, "Vary")) == ("600", True)
    assert headers["X-Request-ID"]


@pytest.mark.parametrize("headers", [
    {"Origin": THEIRS, **PREFLIGHT},
    {"Origin": OURS, **PREFLIGHT, "Access-Control-Request-Method": "DELETE"},
    {"Origin": OURS},
    PREFLIGHT,
    {},
], ids=["origin", "method", "no method", "no origin", "nothing"])
async def test_any_other_preflight_is_refused_in_the_error_shape(
        serve: Serve, http: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    async with http.options(f"{await serve(cors_origins=(OURS,))}/api/generate", headers=headers) as response:
        assert (response.status, ALLOWED in response.headers) == (403, False)
        told = await response.json()
    assert set(told) == {"success", "error", "timestamp", "request_id"}
    assert (told["success"], told["error"]) == (False, "Forbidden")
    assert told["request_id"] == response.headers["X-Request-ID"]
    assert response.headers["Vary"] == "Origin"


async def test_a_preflight_for_no_path_is_not_found(serve: Serve, http: aiohttp.ClientSession) -> None:
    status, headers = await preflight(http, f"{await serve()}/nonesuch")
    assert (status, ALLOWED in headers) == (404, False)


@pytest.mark.parametrize(("method", "status"), [("POST", 422), ("DELETE", 405)])
async def test_credentials_are_allowed_where_that_is_set(
        serve: Serve, http: aiohttp.ClientSession, method: str, status: int) -> None:
    url = f"{await serve(cors_origins=(OURS,), cors_credentials=True)}/api/generate"
    given, headers = await sent(http, method, url, b"{}", origin=OURS)
    assert (given, headers[ALLOWED], headers[CREDENTIALS]) == (status, OURS, "true")
    _, headers = await preflight(http, url)
    assert (headers[ALLOWED], headers[CREDENTIALS]) == (OURS, "true")
    _, headers = await sent(http, method, url, b"{}", origin=THEIRS)
    assert CREDENTIALS not in headers and ALLOWED not in headers


def test_credentials_for_everybody_are_refused_at_the_start() -> None:
    with pytest.raises(SettingError, match="not \\*"):
        Settings(cors_origins=(OURS, "*"), cors_credentials=True)


@pytest.mark.parametrize(("origins", "origin", "opens"), [
    (("*",), THEIRS, True), ((OURS,), OURS, True), ((OURS,), THEIRS, False), ((OURS,), "null", False),
    ((OURS,), None, True)])
async def test_a_socket_opens_to_the_same_pages(
        serve: Serve, http: aiohttp.ClientSession, origins: tuple[str, ...], origin: str | None, opens: bool) -> None:
    url = f"{await serve(cors_origins=origins)}/ws/generate"
    try:
        async with http.ws_connect(url, origin=origin) as socket:
            await socket.send_json({"prompt": "Hi"})
            assert opens and (await socket.receive_json())["success"]
    except aiohttp.WSServerHandshakeError as refusal:
        assert (refusal.status, opens) == (403, False)
