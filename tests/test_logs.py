"""What the server tells whoever runs it, and what it keeps to itself."""
import asyncio
import json
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest

from aioapp.events import Usage
from aioapp.generation import Call, Prompt, Turn
from aioapp.layers import Record
from aioapp.logs import OneLine, log_generation, server_logger
from tests.processes import KEY, Server, serving, until, upstream_at
from tests.test_shutdown import ASK, generate, held, stream
from tests.upstreams import Connection, upstream, whole

QUIET = [["--no-access-log"], ["--log-level", "warning"]]
PROMPT = "prompt-canary"
SECRET = "header-canary"


async def lines(server: Server, pattern: str) -> None:
    await server.says(rf"(?m)^\S+ \S+ {pattern}$")


async def test_each_request_and_each_generation_has_its_line(http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as claude, serving(env=upstream_at(claude.url)) as server:
        assert (await generate(http, server))[0] == 200
        await lines(server, r"INFO aioapp.requests: 127.0.0.1 POST /api/generate 200 [\d.]+ ms \w{32}")
        await lines(server, r"INFO aioapp.generations: \w{32} completed: claude-sonnet-5-5, end_turn, "
                            r"in 12 out 5 tokens, first after [\d.]+ s, [\d.]+ s")


async def test_a_stream_has_its_line_when_it_ends(http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as claude, serving(env=upstream_at(claude.url)) as server:
        async with http.post(f"{server.url}/api/stream", json=ASK) as response:
            await response.read()
        await lines(server, r"INFO aioapp.requests: 127.0.0.1 POST /api/stream 200 [\d.]+ ms \w{32}")


async def test_a_caller_who_left_has_a_line_that_says_so(http: aiohttp.ClientSession) -> None:
    async with held() as (server, _, _):
        async with stream(http, server) as response:
            response.close()
        await lines(server, r"INFO aioapp.requests: 127.0.0.1 POST /api/stream left [\d.]+ ms \w{32}")
        await lines(server, r"INFO aioapp.generations: \w{32} cancelled: .*")


async def test_a_failed_generation_says_why(http: aiohttp.ClientSession) -> None:
    async def refuse(connection: Connection) -> None:
        await connection.answer(429, b"{}", Retry_After="60")

    async with upstream(refuse) as claude, serving(env=upstream_at(claude.url)) as server:
        assert (await generate(http, server))[0] == 429
        await lines(server, r"INFO aioapp.generations: \w{32} failed \(Claude's rate limit is reached\): .*"
                            r"first after never, [\d.]+ s")


@pytest.mark.parametrize("flags", QUIET)
async def test_what_is_switched_off_is_not_logged(http: aiohttp.ClientSession, flags: list[str]) -> None:
    async with serving("--simulate", *flags, env={"API_SIMULATE_PACE": "0"}) as server:
        assert (await generate(http, server))[0] == 200
        await rubbish(server)
        assert await server.end() == 0
    assert "generate" not in server.err and "POST" not in server.err
    assert flags == QUIET[0] or server.err == ""


async def rubbish(server: Server) -> None:
    for data in RUBBISH:
        await talked(server, data)


RUBBISH = [
    b"\x16\x03\x01\x02\x00" + SECRET.encode() + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: " + SECRET.encode() + b"\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + SECRET.encode() + b"\r\n\r\n",
    b"GET /" + SECRET.encode() + b"\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + SECRET.encode() * 2000 + b"\r\n\r\n",
    b"POST /api/generate HTTP/1.1\r\nHost: a\r\nContent-Length: " + SECRET.encode() + b"\r\n\r\n",
    b"POST /api/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    + SECRET.encode() + b"\r\n\r\n",
    b"POST /api/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 13\r\n\r\n" + SECRET.encode(),
    b"GET /ws/generate HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + SECRET.encode() + b"\r\n\r\n",
]


async def talked(server: Server, data: bytes) -> bytes:
    """What is answered to `data`."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    async with asyncio.timeout(5):
        answer = await reader.readline()
    writer.close()
    return answer


@pytest.mark.parametrize("data", RUBBISH, ids=range(len(RUBBISH)))
async def test_rubbish_is_answered_400_and_leaves_neither_traceback_nor_secret(data: bytes, noisy: Server) -> None:
    before = len(noisy.err)
    answer = await talked(noisy, data)
    assert answer.startswith(b"HTTP/1.") and b" 400 " in answer
    async with aiohttp.ClientSession() as http, http.get(f"{noisy.url}/after") as response:
        assert response.status == 404
    await until(lambda: "/after" in noisy.err[before:])
    assert "Traceback" not in noisy.err and SECRET not in noisy.err
    assert not {"WARNING", "ERROR"} & {*noisy.err.split()}


@pytest.fixture
async def noisy() -> AsyncIterator[Server]:
    async with serving("--simulate", "--log-level", "debug") as server:
        yield server


async def test_neither_key_nor_prompt_nor_answer_is_logged_even_on_debug(http: aiohttp.ClientSession) -> None:
    async def echo(connection: Connection) -> None:
        """An upstream that says everything back where it hurts most."""
        said = json.dumps({"error": {"type": KEY, "message": f"{KEY} {PROMPT}"}})
        await connection.answer(400, said.encode(), X_Echo=KEY)

    async def nonsense(connection: Connection) -> None:
        await connection.send(f"{KEY} {PROMPT}\r\n\r\n".encode())

    async with (upstream(echo, nonsense, nonsense, nonsense, whole) as claude,
                serving("--log-level", "debug", "--debug", env=upstream_at(claude.url)) as server):
        for status in (400, 502, 200):
            async with http.post(f"{server.url}/api/generate?key={KEY}", json={"prompt": PROMPT},
                                 headers={"Authorization": f"Bearer {KEY}"}) as response:
                assert response.status == status
        assert await server.end() == 0
    assert server.err.count("POST /api/generate") == 3
    assert not [said for said in (KEY, PROMPT, "wörld", "Traceback") if said in server.err + server.out]


def record(model: str) -> Record:
    prompt = Prompt(messages=(Turn("user", PROMPT),), max_tokens=1, model=model)
    return Record(call=Call(prompt=prompt, deadline=0.0, request_id="r"), outcome="failed", error="Bad request",
                  model=None, stop_reason=None, usage=Usage.of({}), first=None, duration=0.25)


def test_a_caller_cannot_write_lines_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_generation(record("x\n2026 INFO forged\x1b[2J\x9b"))
    assert OneLine().format(caplog.records[0]) == (
        r"r failed (Bad request): x\x0a2026 INFO forged\x1b[2J\x9b, no stop reason, "
        "in 0 out 0 tokens, first after never, 0.250 s")


def test_a_fault_of_ours_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ZeroDivisionError("ours")
    except ZeroDivisionError as error:
        server_logger().exception("Unhandled exception", exc_info=error)
    assert "Traceback" in caplog.text and "ZeroDivisionError: ours" in caplog.text
