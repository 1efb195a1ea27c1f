"""How a server ends: what runs gets a while, what comes is refused, and nobody can hold up the end."""
import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import WSMsgType

from tests.processes import PATIENCE, Server, serving, until, upstream_at
from tests.upstreams import BLOCK, END, MESSAGE, START, Connection, Upstream, delta, upstream

ASK = {"prompt": "Hi"}
SHORT = 0.4
"""Seconds: a shutdown timeout that a test can see expire."""
GRACE = 2.0
"""Seconds beyond the shutdown timeout within which the process must have ended."""


@dataclass
class Held:
    """A script that answers only once `release` is set; a stream has got its first piece before."""

    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, connection: Connection) -> None:
        if connection.body.get("stream"):
            await connection.begin()
            await connection.chunk(START + BLOCK + delta("Hello"))
            await self._released(connection)
            await connection.chunk(delta(" again") + END)
            await connection.finish()
        else:
            await self._released(connection)
            await connection.answer(200, json.dumps(MESSAGE).encode())

    async def _released(self, connection: Connection) -> None:
        while not self.release.is_set() and not connection.gone.is_set():
            await asyncio.sleep(0.005)


async def flood(connection: Connection) -> None:
    """More than any buffer holds."""
    await connection.begin()
    await connection.chunk(START + BLOCK)
    while True:
        await connection.chunk(delta("x" * 60_000))


@asynccontextmanager
async def held(*flags: str, **variables: str) -> AsyncIterator[tuple[Server, Upstream, Held]]:
    script = Held()
    async with upstream(script) as claude, serving(*flags, env={**upstream_at(claude.url), **variables}) as server:
        yield server, claude, script


async def asked(claude: Upstream, times: int = 1) -> None:
    await until(lambda: len(claude.seen) == times)


async def generate(http: aiohttp.ClientSession, server: Server) -> tuple[int, dict[str, Any]]:
    async with http.post(f"{server.url}/api/generate", json=ASK) as response:
        return response.status, await response.json()


@asynccontextmanager
async def stream(http: aiohttp.ClientSession, server: Server) -> AsyncIterator[aiohttp.ClientResponse]:
    """A stream whose first piece has come."""
    async with http.post(f"{server.url}/api/stream", json=ASK) as response:
        assert await response.content.readuntil(b"\n\n") == b"data: Hello\n\n"
        yield response


async def draining(http: aiohttp.ClientSession, server: Server) -> None:
    """Wait until the end has begun."""
    async with asyncio.timeout(PATIENCE):
        while await status_of(http, server, "/health") != 503:
            await asyncio.sleep(0.01)


async def status_of(http: aiohttp.ClientSession, server: Server, path: str) -> int:
    async with http.get(server.url + path) as response:
        return response.status


async def test_what_finishes_in_time_is_completed_and_the_process_ends_right_after(
        http: aiohttp.ClientSession) -> None:
    async with held() as (server, claude, script):
        whole = asyncio.create_task(generate(http, server))
        async with stream(http, server) as streamed:
            await asked(claude, 2)
            server.tell()
            await draining(http, server)
            script.release.set()
            assert await streamed.text() == "data:  again\n\ndata: [DONE]\n\n"
        status, answer = await whole
        assert (status, answer["response"]) == (200, "Hello, wörld")
        assert await server.ended() == 0
        assert server.took < GRACE
    assert "Traceback" not in server.err


async def test_while_it_drains_health_is_503_and_new_generations_are_refused(http: aiohttp.ClientSession) -> None:
    async with held() as (server, claude, script), stream(http, server):
        server.tell()
        await draining(http, server)
        async with http.post(f"{server.url}/api/generate", json=ASK) as response:
            answer = await response.json()
            assert (response.status, answer["success"]) == (503, False)
            assert answer["error"] == "The server is shutting down"
            assert int(response.headers["Retry-After"]) > 0
        async with http.post(f"{server.url}/api/stream", json=ASK) as response:
            assert (response.status, response.content_type) == (503, "application/json")
        assert await status_of(http, server, "/health/live") == 200
        assert len(claude.seen) == 1


async def test_a_call_that_does_not_finish_in_time_is_told_so(http: aiohttp.ClientSession) -> None:
    async with held("--shutdown-timeout", str(SHORT)) as (server, claude, _):
        whole = asyncio.create_task(generate(http, server))
        await asked(claude)
        server.tell()
        status, answer = await whole
        assert (status, answer["error"]) == (503, "The server is shutting down")
        assert await server.ended() == 0
        assert server.took < SHORT + GRACE
        await until(claude.seen[0].gone.is_set)
    assert "Traceback" not in server.err


async def test_a_stream_that_does_not_finish_in_time_ends_with_an_error_and_no_done(
        http: aiohttp.ClientSession) -> None:
    async with held("--shutdown-timeout", str(SHORT)) as (server, _, _), stream(http, server) as streamed:
        server.tell()
        rest = await streamed.text()
        assert rest.startswith("event: error\ndata: {") and "The server is shutting down" in rest
        assert "[DONE]" not in rest
        assert await server.ended() == 0
        assert server.took < SHORT + GRACE
    assert "Traceback" not in server.err


async def test_a_socket_whose_generation_does_not_finish_in_time_gets_an_error_frame_and_1001(
        http: aiohttp.ClientSession) -> None:
    async with held("--shutdown-timeout", str(SHORT)) as (server, _, _):
        async with http.ws_connect(f"{server.url}/ws/generate") as talk:
            await talk.send_json(ASK | {"stream": True, "id": "a"})
            assert [(await talk.receive_json())["type"] for _ in range(2)] == ["start", "delta"]
            server.tell()
            frame = await talk.receive_json()
            assert (frame["error"], frame["id"]) == ("The server is shutting down", "a")
            await closes_with_1001(talk)
        assert await server.ended() == 0
        assert server.took < SHORT + GRACE
    assert "Traceback" not in server.err


async def closes_with_1001(talk: "aiohttp.ClientWebSocketResponse[bool]") -> None:
    message = await talk.receive()
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)


async def test_an_idle_socket_is_closed_with_1001_at_once(http: aiohttp.ClientSession) -> None:
    async with serving("--simulate") as server, http.ws_connect(f"{server.url}/ws/generate") as talk:
        server.tell()
        await closes_with_1001(talk)
        assert await server.ended() == 0
        assert server.took < GRACE


async def test_an_idle_socket_is_closed_with_1001_while_others_still_run(http: aiohttp.ClientSession) -> None:
    async with held() as (server, _, script), stream(http, server) as streamed:
        async with http.ws_connect(f"{server.url}/ws/generate") as talk:
            server.tell()
            await closes_with_1001(talk)
        script.release.set()
        assert (await streamed.text()).endswith("data: [DONE]\n\n")


async def test_a_socket_that_still_generates_gets_its_answer_and_then_1001(http: aiohttp.ClientSession) -> None:
    async with held() as (server, claude, script), http.ws_connect(f"{server.url}/ws/generate") as talk:
        await talk.send_json(ASK)
        await asked(claude)
        server.tell()
        await draining(http, server)
        script.release.set()
        assert (await talk.receive_json())["response"] == "Hello, wörld"
        await closes_with_1001(talk)
        assert await server.ended() == 0


async def test_callers_who_never_read_do_not_hold_up_the_end() -> None:
    async with (upstream(flood) as claude,
                serving("--shutdown-timeout", str(SHORT), env=upstream_at(claude.url)) as server):
        with deaf(server, STREAM), deaf(server, UPGRADE, FRAME):
            await asked(claude, 2)
            assert await server.end() == 0
            assert server.took < SHORT + GRACE
    assert "Traceback" not in server.err


STREAM = (b"POST /api/stream HTTP/1.1\r\nHost: localhost\r\n"
          b"Content-Type: application/json\r\nContent-Length: 15\r\n\r\n"
          b'{"prompt":"Hi"}')
UPGRADE = (b"GET /ws/generate HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
FRAME = b"\x81\x9e\0\0\0\0" + b'{"prompt":"Hi", "stream":true}'
"""A text frame, masked with zeros."""


def deaf(server: Server, *sent: bytes) -> socket.socket:
    """A caller who asks and then takes nothing."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = server.url.removeprefix("http://").partition(":")
    caller.connect((host, int(port)))
    caller.sendall(b"".join(sent))
    return caller


async def test_a_socket_that_never_answers_the_close_does_not_hold_up_the_end() -> None:
    async with serving("--simulate") as server:
        with deaf(server, UPGRADE) as caller:
            await asyncio.to_thread(caller.recv, 1)  # it is open
            assert await server.end() == 0
            assert server.took < GRACE


async def test_a_second_signal_ends_it_at_once(http: aiohttp.ClientSession) -> None:
    async with held() as (server, _, _), stream(http, server):
        server.tell()
        await draining(http, server)
        assert await server.end(signal.SIGTERM) == -signal.SIGTERM
        assert server.took < 1.0
    assert "Traceback" not in server.err


async def test_for_the_drain_delay_health_is_503_and_everything_else_is_still_served(
        http: aiohttp.ClientSession) -> None:
    async with (serving("--simulate", "--simulate-pace", "0", env={"API_DRAIN_DELAY": "3"}) as server,
                http.ws_connect(f"{server.url}/ws/generate") as talk):
        server.tell()
        await draining(http, server)
        async with aiohttp.ClientSession() as newcomer:
            assert (await generate(newcomer, server))[0] == 200
            assert await status_of(newcomer, server, "/health") == 503
            assert await status_of(newcomer, server, "/health/live") == 200
        await talk.send_json(ASK)
        assert (await talk.receive_json())["success"] is True
        await closes_with_1001(talk)
        assert await server.ended() == 0
        assert 3.0 <= server.took < 3.0 + GRACE


async def test_after_the_drain_delay_generations_are_refused_and_running_ones_get_the_shutdown_timeout(
        http: aiohttp.ClientSession) -> None:
    async with held(API_DRAIN_DELAY="1") as (server, claude, script), stream(http, server) as streamed:
        server.tell()
        await draining(http, server)
        whole = asyncio.create_task(generate(http, server))
        await asked(claude, 2)
        async with asyncio.timeout(PATIENCE):
            while (await probed(server, claude))[0] != 503:
                pass
        assert server.took >= 1.0
        script.release.set()
        assert (await streamed.text()).endswith("data: [DONE]\n\n")
        assert (await whole)[0] == 200
        assert await server.ended() == 0


async def probed(server: Server, claude: Upstream) -> tuple[int, dict[str, Any]]:
    """What becomes of a generation that is left again once Claude was asked: (0, {}) if so."""
    seen = len(claude.seen)
    async with aiohttp.ClientSession() as caller:
        call = asyncio.create_task(generate(caller, server))
        await until(lambda: call.done() or len(claude.seen) > seen)
        if call.done():
            return await call
        call.cancel()
        await asyncio.wait([call])
        return 0, {}


async def test_a_second_signal_ends_the_drain_delay_too(http: aiohttp.ClientSession) -> None:
    async with serving("--simulate", env={"API_DRAIN_DELAY": "60"}) as server:
        server.tell()
        await draining(http, server)
        assert await server.end() == -signal.SIGTERM
        assert server.took < 1.0
    assert "Traceback" not in server.err
