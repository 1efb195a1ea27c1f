"""The relay against whoever means ill: random bodies, callers who hang up, bodies beyond all bounds, and headers.

The upstream records what it is asked; nothing may reach it that its caller's key does not allow.
"""
import asyncio
import io
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from yarl import URL

from aioapp.app import create_app
from aioapp.credentials import fixed
from aioapp.settings import Settings
from aioapp.web.operations.large_bodies import LARGE_BODIES, LARGEST, MOST_VALUES, LargeBodies
from tests.conftest import Serve, start
from tests.keyed import make_key, shown
from tests.odd_bodies import MINE, forbidden_in, large_bodies, odd_body
from tests.upstreams import BLOCK, START, Connection, Script, delta, upstream

SEED, BODIES, AT_ONCE = 20261130, 10_000, 16
MESSAGE = b'{"type":"message","model":"claude-haiku-5-5","usage":{"input_tokens":1,"output_tokens":1}}'
LIVE = json.dumps({"model": MINE, "max_tokens": 50, "stream": True, "messages": [
    {"role": "user", "content": "x" * 300}]}).encode()
PLAIN = LIVE.replace(b"true", b"false")
FULL = "This server holds as many large requests as it can. Send it again in a moment."
WITHIN = 1.0
"""Seconds in which Claude's connection is closed once its caller has gone."""


# Bodies.

@dataclass
class Recorder:
    """An upstream that takes any body, answers at once, and keeps what it was asked."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                    self.bodies.append(await reader.readexactly(length))
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                 b"Content-Length: %d\r\n\r\n%b" % (len(MESSAGE), MESSAGE))
            except (asyncio.IncompleteReadError, ConnectionError):
                pass  # the server under test has closed


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    made = Recorder()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = "http://127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
    async with server:
        yield made


async def statuses(url: str, key: str, bodies: Iterator[bytes]) -> list[int]:
    """What the server answers to each body, over one connection as long as it is kept."""
    found: list[int] = []
    where, reader, writer = URL(url), None, None
    for raw in bodies:
        if reader is None or writer is None or writer.is_closing() or reader.at_eof():
            reader, writer = await asyncio.open_connection(where.host, where.port)
        path = b"/v1/messages/count_tokens" if len(found) % 4 == 3 else b"/v1/messages"
        writer.write(b"POST %b HTTP/1.1\r\nHost: localhost\r\nx-api-key: %b\r\nContent-Length: %d\r\n\r\n" % (
            path, key.encode(), len(raw)))
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        found.append(int(head.split()[1]))
    if writer is not None:
        writer.close()
    return found


async def test_no_body_reaches_claude_under_a_model_that_the_key_may_not_use_and_none_is_a_fault(serve: Serve) -> None:
    luck = random.Random(SEED)
    bodies = [odd_body(luck) for _ in range(BODIES)]
    key = make_key("web", models=("claude-haiku-*",))
    async with recorder() as claude:
        url = await serve(claude.url, access_log=False)
        found = await asyncio.gather(*[
            statuses(url, key, iter(bodies[start::AT_ONCE])) for start in range(AT_ONCE)])
        large = await statuses(url, key, large_bodies(luck))
    counted = {status: sum(each.count(status) for each in found) for status in {*sum(found, [])}}
    assert set(counted) == {200, 400, 403}
    assert min(counted.values()) > BODIES / 50  # of each there is enough for the test to mean something
    assert large == [200, 400, 403, 400, 400, 400]
    assert len(claude.bodies) == counted[200] + 1
    assert not [raw for raw in claude.bodies if len(raw) < 10_000 and forbidden_in(raw)]
    assert {*claude.bodies} <= {*bodies, next(large_bodies(luck))}  # byte for byte


# Callers who hang up.

async def silent(connection: Connection) -> None:
    await connection.gone.wait()


async def half_a_head(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
    await connection.gone.wait()


async def half_an_answer(connection: Connection) -> None:
    await connection.send(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"model":')
    await connection.gone.wait()


async def some_events(connection: Connection) -> None:
    await connection.begin()
    await connection.chunk(START + BLOCK + delta("x" * 300))
    await connection.gone.wait()


@pytest.mark.parametrize("script, body, awaited", [
    (silent, LIVE, b""), (silent, PLAIN, b""), (half_a_head, LIVE, b""), (half_an_answer, PLAIN, b""),
    (some_events, LIVE, b"HTTP"), (some_events, LIVE, b"x" * 300),
], ids=["before a stream", "before an answer", "in the head", "in an answer", "at the first byte", "after it"])
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "closed"])
async def test_whoever_hangs_up_stops_claude_and_is_charged(
        script: Script, body: bytes, awaited: bytes, cut: bool, serve: Serve, http: aiohttp.ClientSession) -> None:
    key, asked = make_key("web", usd=1.0, concurrency=1), asyncio.Event()

    async def told(connection: Connection) -> None:
        asked.set()
        await script(connection)

    async with upstream(told) as claude:
        url = await serve(claude.url)
        where = URL(url)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nx-api-key: %b\r\n"
                     b"Content-Length: %d\r\n\r\n%b" % (key.encode(), len(body), body))
        await asked.wait()
        if awaited:
            await reader.readuntil(awaited)
        if cut:
            writer.transport.abort()
        else:
            writer.close()
        async with asyncio.timeout(WITHIN):
            await claude.seen[0].gone.wait()
        async with http.get(url + "/api/usage", headers=shown(key)) as answer:
            used = await answer.json()
        assert used["today"]["requests"] == 1 and used["budget"]["spent_usd"] > 0
        async with http.post(url + "/v1/messages/count_tokens", data=b"{}", headers=shown(key)) as again:
            assert again.status == 400  # and not 429: its slot is free again


# Bodies beyond all bounds.

async def refusal(http: aiohttp.ClientSession, url: str, data: Any) -> tuple[int, str, str]:
    async with http.post(url + "/v1/messages", data=data) as answer:
        error = (await answer.json())["error"]
        return answer.status, error["type"], error["message"]


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 2**20):
        yield b" " * 2**20


@pytest.mark.parametrize("data", [io.BytesIO(b" " * (LARGEST + 1)), chunks(LARGEST + 2**20)], ids=["whole", "chunks"])
async def test_a_body_that_is_too_large_is_told_the_bound(
        data: Any, serve: Serve, http: aiohttp.ClientSession) -> None:
    url = await serve("http://127.0.0.1:9")
    assert await refusal(http, url, data) == (413, "request_too_large", "A request has at most 32 MiB.")


async def test_a_body_of_too_many_values_is_told_the_bound(serve: Serve, http: aiohttp.ClientSession) -> None:
    url = await serve("http://127.0.0.1:9")
    assert await refusal(http, url, io.BytesIO(b"[" + b"0," * MOST_VALUES + b"0,0]")) == (
        400, "invalid_request_error", f"A request has at most {MOST_VALUES} values.")


async def post(url: str, body: bytes, *, promised: int) -> asyncio.StreamWriter:
    """Send some of a body of which more is promised."""
    where = URL(url)
    _, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % promised + body)
    return writer


async def test_too_many_large_bodies_at_once_are_overload_and_promises_take_no_room(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    large, asked = PLAIN + b" " * 2**20, asyncio.Event()

    async def script(connection: Connection) -> None:
        asked.set()
        await connection.gone.wait()

    async with upstream(script) as claude:
        app = create_app(Settings(base_url=claude.url, shutdown_timeout=0.2), credentials=fixed("k", "K"))
        app[LARGE_BODIES] = LargeBodies(most=2**20 + 2**19)
        url = await start(app, stack)
        with closing(await post(url, PLAIN, promised=len(large))), closing(await post(url, b"", promised=len(large))):
            first = await post(url, large, promised=len(large))
            await asked.wait()  # neither of those who only promise is in its way
            assert await refusal(http, url, io.BytesIO(large)) == (529, "overloaded_error", FULL)
            asked.clear()
            first.close()
            await claude.seen[0].gone.wait()
            second = await post(url, large, promised=len(large))
            await asked.wait()  # there is room again
            second.close()


# Headers, to Claude and back.

SENT = {
    "x-api-key": "{key}", "authorization": "Bearer {key}", "cookie": "aioapp_admin=secret", "forwarded": "for=secret",
    "x-forwarded-for": "secret", "x-real-ip": "secret", "via": "secret", "te": "secret", "referer": "secret",
    "origin": "http://mine", "x-request-id": "mine", "proxy-authorization": "secret", "accept-encoding": "secret",
    "keep-alive": "secret", "upgrade-insecure-requests": "secret", "anthropic-named": "secret", "expect": "secret",
    "connection": "keep-alive, anthropic-named", "anthropic_beta": "secret", "x-anthropic-key": "secret",
    "anthropic-beta": "a,b", "anthropic-version": "2023-06-01", "x-claude-code-session": "s", "x-stainless-lang": "js",
    "x-app": "cli", "user-agent": "me/1", "accept": "application/json", "content-type": "application/json"}
TO_CLAUDE = {
    "anthropic-beta": "a,b", "anthropic-version": "2023-06-01", "x-claude-code-session": "s", "x-stainless-lang": "js",
    "x-app": "cli", "user-agent": "me/1", "accept": "application/json", "content-type": "application/json",
    "authorization": "Bearer sk-canary-key", "accept-encoding": "identity"}
ANSWERED = {
    "set-cookie": "secret", "via": "secret", "server": "secret", "cf-ray": "secret", "x-envoy": "secret",
    "anthropic-organization-id": "secret", "anthropic-ratelimit-requests-remaining": "secret", "location": "/secret",
    "www-authenticate": "secret", "strict-transport-security": "secret", "x-api-key": "secret", "alt-svc": "secret",
    "x-request-id": "secret", "date": "Mon, 01 Jan 2001 00:00:00 GMT", "access-control-allow-origin": "secret",
    "request-id": "req_1", "retry-after": "7", "x-should-retry": "true", "anthropic-new": "y"}
TO_CALLER = {"content-type", "request-id", "retry-after", "x-should-retry", "anthropic-new"}
OURS = {
    "content-length", "transfer-encoding", "connection", "date", "server", "cache-control", "x-accel-buffering", "vary",
    "access-control-allow-origin", "access-control-expose-headers", "access-control-allow-credentials", "x-request-id",
    "x-process-time", "ratelimit", "ratelimit-policy"}


def answering(status: int, *, live: bool) -> Script:
    async def script(connection: Connection) -> None:
        kind, body = ("text/event-stream", START) if live else ("application/json", MESSAGE)
        await connection.answer(status, body, kind, **ANSWERED)

    return script


@pytest.mark.parametrize("path, status, live", [
    ("/v1/messages", 200, False), ("/v1/messages", 200, True), ("/v1/messages", 400, False),
    ("/v1/messages", 529, False), ("/v1/messages/count_tokens", 200, False), ("/v1/models/x", 200, False),
    ("/v1/models", 404, False)])
async def test_no_header_passes_in_either_direction_that_is_not_on_its_list(
        path: str, status: int, live: bool, serve: Serve, http: aiohttp.ClientSession,
        caplog: pytest.LogCaptureFixture) -> None:
    key = make_key("web")
    async with upstream(answering(status, live=live)) as claude:
        url = await serve(claude.url)
        headers = {name: value.format(key=key) for name, value in SENT.items()}
        method = "GET" if "models" in path else "POST"
        async with http.request(method, url + path, data=LIVE if live else PLAIN, headers=headers) as answer:
            told = {name.lower(): value for name, value in answer.headers.items()}
        seen = claude.seen[0].headers
        assert {name: value for name, value in seen.items() if name not in ("host", "content-length")} == TO_CLAUDE
        assert answer.status == status
        assert {name: value for name, value in told.items() if name not in OURS} == {
            name: value for name, value in ANSWERED.items() if name in TO_CALLER} | {
            "content-type": "text/event-stream" if live else "application/json"}
        assert "secret" not in str(told)
        assert not any(hidden in caplog.text for hidden in (key, "sk-canary-key", "aioapp_admin"))
