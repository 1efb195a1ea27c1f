"""Rubbish in: each gets its documented error, and nothing else breaks."""
import asyncio
import json
import zlib
from typing import Any

import aiohttp
import httpx
import pytest

from tests.conftest import Serve

JSON = {"Content-Type": "application/json"}


async def raw(url: str, data: bytes, *, half: bool = False) -> bytes:
    """Send bytes as they are and read what comes until the server closes, or, of half a request, nothing."""
    where = httpx.URL(url)
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(data)
    try:
        async with asyncio.timeout(0.2 if half else 5):
            return await reader.read()
    except TimeoutError:
        return b""
    finally:
        writer.transport.abort()


async def still_answers(http: aiohttp.ClientSession, url: str) -> bool:
    async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}) as response:
        return response.status == 200


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/stream"])
@pytest.mark.parametrize("body", [
    b"", b"   ", b"{", b"nonsense", b'{"prompt": "Hi"', b'{"prompt": "\xff\xfe"}', b'{"prompt": NaN}',
    b'{"prompt": "Hi", "temperature": Infinity}', b"[" * 100_000, b'{"a":' * 50_000, b'{"prompt": "\\ud800"}',
    b'{"prompt": "Hi"} trailing', b"\x00" * 100, b'{"prompt": "Hi", "max_tokens": ' + b"9" * 5000 + b"}",
], ids=lambda body: repr(body[:24]))
async def test_a_body_that_is_not_json_is_a_validation_error(
        serve: Serve, http: aiohttp.ClientSession, path: str, body: bytes) -> None:
    url = await serve()
    async with http.post(f"{url}{path}", data=body, headers=JSON) as response:
        answer = await response.json()
    assert response.status == 422
    assert answer.keys() == {"detail"}
    assert [(row["loc"], row["type"]) for row in answer["detail"]] == [(["body"], "value_error.jsondecode")]
    assert await still_answers(http, url)


@pytest.mark.parametrize("body", [[], "text", 5, None, True])
async def test_a_body_that_is_no_object_is_a_validation_error(
        serve: Serve, http: aiohttp.ClientSession, body: Any) -> None:
    async with http.post(f"{await serve()}/api/generate", data=json.dumps(body), headers=JSON) as response:
        answer = await response.json()
    assert response.status == 422
    assert answer["detail"] == [{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "", "rubbish"])
async def test_a_body_that_is_not_called_json_is_an_unsupported_media_type(
        serve: Serve, http: aiohttp.ClientSession, kind: str) -> None:
    headers = {"Content-Type": kind}
    async with http.post(f"{await serve()}/api/generate", data=b'{"prompt": "Hi"}', headers=headers) as response:
        answer = await response.json()
    assert (response.status, answer["success"], answer["error"]) == (415, False, "Unsupported media type")


async def test_json_with_a_charset_is_json(serve: Serve, http: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    async with http.post(f"{await serve()}/api/generate", data='{"prompt": "é"}'.encode(), headers=headers) as response:
        assert (response.status, (await response.json())["prompt"]) == (200, "é")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_one_mebibyte_is_too_large(
        serve: Serve, http: aiohttp.ClientSession, chunked: bool) -> None:
    url = await serve()
    body = b'{"prompt": "' + b"x" * 2**21 + b'"}'
    length = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(body)
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    answer = await raw(url, b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                            b"Content-Type: application/json\r\n" + length + b"\r\n" + sent)
    head, _, said = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(said).keys() == {"success", "error", "timestamp", "request_id"}
    assert await still_answers(http, url)


@pytest.mark.parametrize("coding", ["deflate", "gzip", "br", "x", "identity"])
async def test_a_body_that_is_packed_is_not_unpacked(
        serve: Serve, http: aiohttp.ClientSession, coding: str) -> None:
    """A mebibyte can hold a gigabyte."""
    packed = b'{"prompt": "Hi"}' if coding == "identity" else zlib.compress(b'{"prompt": "Hi"}')
    headers = {**JSON, "Content-Encoding": coding}
    async with http.post(f"{await serve()}/api/generate", data=packed, headers=headers) as response:
        answer = await response.json()
    assert response.status == (200 if coding == "identity" else 415)
    assert coding == "identity" or answer["detail"] == "Send the body as it is, without the header Content-Encoding."


async def test_no_such_path_and_no_such_method_have_the_error_shape(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    url = await serve()
    async with http.get(f"{url}/nonesuch") as missing:
        assert (missing.status, (await missing.json())["error"]) == (404, "No such path")
    async with http.delete(f"{url}/api/generate") as wrong:
        assert (wrong.status, (await wrong.json())["error"]) == (405, "Method not allowed")
        assert "POST" in wrong.headers["Allow"]


@pytest.mark.parametrize("path", [
    "/", "/health", "/health/ready", "/health/live", "/auth-status", "/docs", "/redoc", "/openapi.json"])
async def test_head_works_on_every_get(serve: Serve, http: aiohttp.ClientSession, path: str) -> None:
    async with http.head(f"{await serve()}{path}") as response:
        assert (response.status, await response.read()) == (200, b"")
        assert int(response.headers["Content-Length"]) > 0


@pytest.mark.parametrize(("given", "kept"), [
    ("abc-123_x.Y:z", True), ("x" * 128, True), ("x" * 129, False), ("with space", False), ("é", False), ("", False),
    ("<script>", False)])
async def test_a_sane_request_id_is_kept_and_any_other_replaced(
        serve: Serve, http: aiohttp.ClientSession, given: str, kept: bool) -> None:
    url = await serve()
    async with http.get(f"{url}/nonesuch", headers={"X-Request-ID": given}) as response:
        id = response.headers["X-Request-ID"]
        assert (await response.json())["request_id"] == id
    assert (id == given) is kept
    assert kept or len(id) == 32
    assert float(response.headers["X-Process-Time"]) >= 0


@pytest.mark.parametrize("request_line", [
    b"GET / HTTP/1.1\r\nHost: ][\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: " + b"x" * 20_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Bad: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /%00%ff/../..//etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
], ids=lambda line: repr(line[:30]))
async def test_absurd_requests_are_refused_without_a_word_in_the_log(
        serve: Serve, http: aiohttp.ClientSession, request_line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    url = await serve()
    answer = await raw(url, request_line.replace(b"Host: ", b"Connection: close\r\nHost: "))
    assert answer[:5] == b"HTTP/" and answer[9:12] in (b"400", b"403", b"404", b"431"), answer[:100]
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert await still_answers(http, url)


@pytest.mark.parametrize("path", [b"/health", b"/nonesuch"])
async def test_an_expectation_that_nobody_knows_is_answered_too(serve: Serve, path: bytes) -> None:
    answer = await raw(await serve(), b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nExpect: the unexpected\r\n"
                                      b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 " if path == b"/health" else b"HTTP/1.1 417 ")
    assert b"X-Request-ID: " in answer


async def test_a_caller_who_asks_first_is_told_to_go_on(serve: Serve) -> None:
    where = httpx.URL(await serve())
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\n"
                 b"Content-Type: application/json\r\nContent-Length: 16\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b'{"prompt": "Hi"}')
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_half_a_request_holds_nothing_up(serve: Serve, http: aiohttp.ClientSession) -> None:
    url = await serve()
    for half in (b"POST /api/ge", b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\n"
                 b"Content-Type: application/json\r\n"
                                  b"Content-Length: 100\r\n\r\n{"):
        assert await raw(url, half, half=True) == b""
    assert await still_answers(http, url)


async def test_a_key_in_a_header_that_cannot_be_parsed_stays_out_of_the_log(
        serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    url = await serve()
    await raw(url, b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-canary-\x00\r\n\r\n")
    await raw(url, b"GET /?key=sk-canary-2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert caplog.records and "sk-canary" not in caplog.text


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    ask = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    answer = await raw(await serve(), ask % (b"health", b"") + ask % (b"nonesuch", b"Connection: close\r\n"))
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404"]
