"""What the relay refuses, whom it asks in whose name, and what it makes of answers that are none of Claude's."""
import asyncio
import json
from collections.abc import Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from typing import Any

import aiohttp
import httpx
import pytest
from yarl import URL

from aioapp.endpoints import endpoints
from tests.conftest import Serve
from tests.keyed import make_key, shown
from tests.upstreams import MESSAGE, Connection, Script, upstream, whole

BODY: Mapping[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": []}
PATHS = ("/v1/messages", "/v1/messages/count_tokens")
ERROR = b'{"type":"error","error":{"type":"x","message":"y"}}'


def saying(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Script:
    async def script(connection: Connection) -> None:
        await connection.answer(status, body, content_type, **headers)

    return script


async def empty_stream(connection: Connection) -> None:
    await connection.stream()


def is_anthropic(told: Any) -> bool:
    match told:
        case {"type": "error", "error": {"type": str(), "message": str()}, "request_id": str()}:
            return True
    return False


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("script", [
    saying(302, b"{}", location="http://127.0.0.1/"), saying(307, ERROR, location="http://127.0.0.1/"),
    saying(999, ERROR), saying(600, ERROR), saying(200, b""), saying(200, b"<p>", "text/html"), saying(304, b""),
    saying(200, b"{}", content_encoding="gzip"), empty_stream], ids=range(9))
async def test_what_is_no_answer_of_claudes_is_a_bad_gateway(
        path: str, script: Script, serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(script) as claude:
        url = await serve(claude.url)
        async with http.post(url + path, json=BODY, allow_redirects=False) as answer:
            assert (answer.status, is_anthropic(await answer.json())) == (502, True)
            assert "Location" not in answer.headers


@pytest.mark.parametrize("name", [
    "..", "%2e%2e", "x%2F..%2F..%2Ffiles%2Ff1", "claude-sonnet-5-5%2F..%2F..%2Ffiles", "a%5C..%5Cb", "a%3Fb", "a%23b",
    "a;b", "a%00", "a%0d%0aX-Api-Key:%20k", "%C3%A9", "%zz", "a" * 257])
async def test_the_name_of_a_model_leads_nowhere_else(name: str, serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as claude:
        url = await serve(claude.url)
        async with http.get(URL(f"{url}/v1/models/{name}", encoded=True)) as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (404, "not_found_error")
        assert not claude.seen


async def test_a_models_name_is_asked_for_as_it_is(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(saying(200, b"{}")) as claude:
        url = await serve(claude.url)
        async with http.get(f"{url}/v1/models/us.claude-opus-5-5@x:0") as answer:
            assert answer.status == 200
        assert claude.seen[0].head == "GET /v1/models/us.claude-opus-5-5@x:0 HTTP/1.1"


async def test_a_packed_body_is_refused_in_words(serve: Serve, http: aiohttp.ClientSession) -> None:
    url = await serve()
    async with http.post(url + "/v1/messages", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}) as answer:
        assert answer.status == 400
        assert "without the header Content-Encoding" in (await answer.json())["error"]["message"]


async def asked(url: str, raw: bytes) -> tuple[int, bytes]:
    """The status and the body that the server has for bytes that may be no good request."""
    where = URL(url)
    assert where.host is not None
    reader, writer = await asyncio.open_connection(where.host, where.port)
    with closing(writer):
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        body = b""
        if not raw.startswith(b"HEAD"):
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
    return int(head.split()[1]), body


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
async def test_every_path_below_v1_refuses_in_anthropics_shape(method: str, serve: Serve) -> None:
    url = await serve("http://127.0.0.1:9")
    paths = {endpoint.path.replace("{id}", "x").replace("{tail:.*}", "nothing") for endpoint in endpoints()}
    below = sorted(path for path in paths if path.startswith("/v1/"))
    assert len(below) > 4
    for path in below:
        status, body = await asked(url, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert status >= 400 and status in {*HTTPStatus, 529}
        assert method == "HEAD" or is_anthropic(json.loads(body))
        assert status != 500


@pytest.mark.parametrize("head, status, kind", [
    ("".join(f"anthropic-{number}: {'x' * 7000}\r\n" for number in range(10)), 431, "invalid_request_error"),
    ("Content-Length: 40000000\r\n", 413, "request_too_large"),
    ("Content-Encoding: br\r\nContent-Length: 1\r\n", 400, "invalid_request_error"),
], ids=["headers", "body", "packed"])
async def test_a_request_that_is_too_large_is_told_so_in_anthropics_shape(
        head: str, status: int, kind: str, serve: Serve) -> None:
    url = await serve("http://127.0.0.1:9")
    said, body = await asked(url, f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
    assert (said, json.loads(body)["error"]["type"]) == (status, kind)


async def test_a_body_that_comes_too_slowly_is_told_so_in_anthropics_shape(serve: Serve) -> None:
    url = await serve("http://127.0.0.1:9", body_timeout=0.1)
    raw = b'POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"model":'
    async with asyncio.timeout(10):  # it had a minute more, as if it were the largest
        said, body = await asked(url, raw)
    assert (said, json.loads(body)["error"]["type"]) == (408, "timeout_error")


async def test_an_answer_may_call_an_event_stream_by_capitals(serve: Serve, http: aiohttp.ClientSession) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream\r\n\r\ndata: 1\n\n")
        await connection.gone.wait()

    async with upstream(script) as claude:
        url = await serve(claude.url)
        async with asyncio.timeout(10), http.post(url + "/v1/messages", json={**BODY, "stream": True}) as answer:
            assert await answer.content.readline() == b"data: 1\n"  # and not only once it has ended


async def test_an_answer_goes_on_byte_for_byte(serve: Serve, http: aiohttp.ClientSession) -> None:
    body = json.dumps(MESSAGE, indent=3).encode() + b" \n"
    async with upstream(saying(200, body)) as claude:
        url = await serve(claude.url)
        async with http.post(url + "/v1/messages", json=BODY) as answer:
            assert (answer.status, await answer.read()) == (200, body)


@pytest.mark.parametrize("key, size, status", [("", 2**23, 401), ("web", 33 * 2**20, 413)])
async def test_whoever_sends_all_of_a_large_body_first_can_read_why_it_was_refused(
        key: str, size: int, status: int, serve: Serve) -> None:
    headers = shown(make_key("web")) if key else {"X-API-Key": make_key("web") + "x"}
    url = await serve("http://127.0.0.1:9")
    async with httpx.AsyncClient() as client:  # as Anthropic's SDK does
        answer = await client.post(url + "/v1/messages", content=b" " * size, headers=headers)
    assert (answer.status_code, is_anthropic(answer.json())) == (status, True)


async def test_whoever_leaves_within_a_body_that_nobody_reads_is_no_fault_of_ours(
        serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    url = await serve("http://127.0.0.1:9")
    for _ in range(5):
        where = URL(url)
        _, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n\r\n")
        with suppress(ConnectionError):
            while True:  # until it has had enough
                writer.write(b" " * 2**20)
                await writer.drain()
        writer.close()
    await asked(url, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
