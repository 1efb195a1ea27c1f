"""How long a caller's connection may wait for what, and what it gets that breaks the protocol: in production's runner,
on real sockets, with a clock of the test's own."""
import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aioapp.app import BOUNDS, create_app
from aioapp import set_access
from aioapp.settings import Settings
from aioapp.telemetry.logs import server_logger
from aioapp.web.bounds import LARGEST_BODY, LARGEST_HEAD
from aioapp.web.server.connection_limits import Connections
from aioapp.web.server.runner import Runner
from tests.processes import until

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b'{"prompt": "Hi"}'
BIG = 8 * 2**20
JSON = b"Content-Type: application/json\r\n"
FRAME = json.dumps({"prompt": "Hi"}).encode()
HANDSHAKE = (b"GET /ws/generate HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    """A server of ours and its clock."""

    port: int
    connections: Connections
    clock: Clock = field(default_factory=Clock)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.connections.sweep()


@dataclass
class Caller:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def rest(self) -> bytes:
        """All that comes until the server closes; a reset is an end too."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def answer(self) -> tuple[bytes, bytes]:
        """The head and the body of one answer."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return head, await self.reader.readexactly(length)

    def leave(self) -> None:
        self.writer.transport.abort()

    def stop_reading(self) -> None:
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    @property
    def hung_up(self) -> bool:
        return self.reader.at_eof()


async def big(request: web.Request) -> web.Response:
    return web.Response(body=bytes(BIG))


async def slow(request: web.Request) -> web.Response:
    await request.app[GO].wait()
    return web.Response(text="slow")


async def reading(request: web.Request) -> web.Response:
    return web.json_response(await request.json())


GO = web.AppKey("go", asyncio.Event)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def house(stack: AsyncExitStack, **settings: Any) -> tuple[House, web.Application]:
    app = create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2, **settings))
    app[GO] = asyncio.Event()
    for route in app.router.add_routes([web.get("/big", big), web.get("/slow", slow), web.post("/reading", reading)]):
        set_access(app, route, access="open")
    clock = Clock()
    runner = Runner(app, bounds=app[BOUNDS], logger=server_logger(), shutdown_timeout=0.2, clock=clock)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return House(port=runner.addresses[0][1], connections=runner.server, clock=clock), app


async def call(house: House, stack: AsyncExitStack, data: bytes = b"") -> Caller:
    known = house.connections.open
    caller = Caller(*await asyncio.open_connection(sock=await connected(house.port)))
    stack.callback(caller.leave)
    caller.say(data)
    await until(lambda: house.connections.open > known)
    await settled()
    return caller


async def connected(port: int) -> socket.socket:
    """A socket of which the kernel keeps little of what nobody reads."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    return made


async def settled() -> None:
    """Let the server read what was sent: it is in this process, and the kernel has it at once, if it is not busy."""
    for _ in range(40):
        await asyncio.sleep(0.002)


async def reaches(server: House, phase: str) -> None:
    """Wait until the one connection is in this phase."""
    await until(lambda: [connection._phase for connection in server.connections._open] == [phase])


def problem(answer: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the body of an answer in our error shape, of which all must hold that does for any."""
    head, _, body = answer.partition(b"\r\n\r\n")
    said: dict[str, Any] = json.loads(body)
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])}
    assert said.keys() <= {"success", "error", "detail", "timestamp", "request_id"} and said["success"] is False
    assert headers[b"x-request-id"].decode() == said["request_id"] and len(said["request_id"]) == 32
    assert float(headers[b"x-process-time"]) >= 0
    assert headers[b"content-type"] == b"application/json" and int(headers[b"content-length"]) == len(body)
    return int(head.split()[1]), said


async def test_a_connection_that_says_nothing_is_closed_without_a_word(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    silent = await call(server, stack)
    server.pass_time(9.9)
    await settled()
    assert not silent.hung_up
    server.pass_time(0.2)
    assert await silent.rest() == b""
    await until(lambda: not server.connections.open)


@pytest.mark.parametrize("half", [
    b"G", b"GET /health HTTP/1.1\r\n", b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\n", GET[:-1]])
async def test_half_a_head_is_refused_however_slowly_it_goes_on(stack: AsyncExitStack, half: bytes) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, half)
    for _ in range(4):
        server.pass_time(4.9)
        caller.say(b"X-Slow: 1\r\n" if half.endswith(b"localhost\r\n") else b"")
        await settled()
        assert not caller.hung_up
    server.pass_time(0.5)
    status, said = problem(await caller.rest())
    assert (status, said["detail"]) == (408, "The request's headers took too long to arrive.")


@pytest.mark.parametrize("path", [b"/api/generate", b"/api/chat", b"/api/stream", b"/api/chat/stream", b"/reading"])
async def test_a_body_that_stops_is_refused_and_its_connection_closed(stack: AsyncExitStack, path: bytes) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, b"POST %b HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: 100\r\n\r\n{" % (
        path, JSON))
    server.pass_time(59.9)
    await settled()
    assert not caller.hung_up
    server.pass_time(0.2)
    status, said = problem(await caller.rest())
    assert (status, said["detail"]) == (408, "The request's body took too long to arrive.")
    await until(lambda: not server.connections.open)


async def test_a_connection_that_idles_is_closed_and_one_that_is_answered_is_not(stack: AsyncExitStack) -> None:
    server, app = await house(stack)
    idle, busy = await call(server, stack, GET), await call(server, stack, GET.replace(b"/health", b"/slow"))
    await idle.answer()
    server.pass_time(74.9)
    await settled()
    assert not idle.hung_up
    server.pass_time(1000)
    assert await idle.rest() == b""
    assert not busy.hung_up
    app[GO].set()
    assert (await busy.answer())[1] == b"slow"


async def test_a_request_that_begins_late_on_an_idle_connection_has_all_its_time(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, GET)
    await caller.answer()
    server.pass_time(74)
    caller.say(GET[:10])
    await settled()
    server.pass_time(19)
    caller.say(GET[10:])
    assert (await caller.answer())[0].startswith(b"HTTP/1.1 200 ")


async def test_requests_go_on_after_a_body_that_nobody_read(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, b"POST /nonesuch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n")
    assert (await caller.answer())[0].startswith(b"HTTP/1.1 404 ")
    for _ in range(20):
        caller.say(bytes(10_000))
        await settled()
    caller.say(GET)
    assert (await caller.answer())[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", [b"/big", b"/docs/assets/redoc.js", b"/docs/assets/swagger_bundle.js"])
async def test_a_caller_who_does_not_read_is_hung_up_on(stack: AsyncExitStack, path: bytes) -> None:
    server, _ = await house(stack)
    # Many in a row: what the kernel's own buffers hold is out of our hands.
    caller = await call(server, stack, GET.replace(b"/health", path) * 8)
    caller.stop_reading()
    await settled()
    server.pass_time(0)
    server.pass_time(59.9)
    await settled()
    assert server.connections.open == 1
    server.pass_time(0.2)
    await until(lambda: not server.connections.open)


async def test_a_caller_who_reads_slowly_gets_it_all(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, GET.replace(b"/health", b"/big"))
    head = await caller.reader.readuntil(b"\r\n\r\n")
    read = b""
    while len(read) < BIG and (piece := await caller.reader.read(2**18)):
        read += piece
        await asyncio.sleep(0)
        server.pass_time(5)
    assert head.startswith(b"HTTP/1.1 200 ") and len(read) == BIG and server.clock() > 1000 + 3 * 60


async def test_a_caller_who_reads_next_to_nothing_is_hung_up_on(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, GET.replace(b"/health", b"/big"))
    caller.stop_reading()
    await settled()
    server.pass_time(0)
    for _ in range(7):
        await caller.reader.read(10)
        server.pass_time(9)
    await until(lambda: not server.connections.open)


async def test_what_is_closed_and_not_taken_is_cut(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    closing = GET.replace(b"/health", b"/big").replace(b"Host", b"Connection: close\r\nHost")
    caller = await call(server, stack, closing)
    caller.stop_reading()
    await settled()
    server.pass_time(1)
    server.pass_time(60)
    await until(lambda: not server.connections.open)


async def test_a_head_is_at_most_so_large_in_all(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    line = b"X-Filler: " + b"x" * 8000 + b"\r\n"
    caller = await call(server, stack, GET[:-2])
    for _ in range(LARGEST_HEAD // len(line) + 1):
        caller.say(line)
        await settled()
    status, said = problem(await caller.rest())
    assert (status, said["detail"]) == (431, "All headers together have at most 65536 bytes.")


async def test_a_large_body_right_behind_its_head_is_no_large_head(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    body = json.dumps({"prompt": "Hi", "system": "x" * 90_000}).encode()
    head = b"POST /reading HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n" % (JSON, len(body))
    caller = await call(server, stack, head + body)
    assert (await caller.answer())[1] == body


@pytest.mark.parametrize(("sent", "status"), [
    (b"nonsense\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Bad: a\x00b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-canary\x00\r\n\r\n", 400),
    (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    (b"GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    (b"GET /health HTTP/0.9\r\nHost: localhost\r\n\r\n", 505),
    (b"POST /api/generate HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n" + JSON
     + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
    (b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"CONNECT /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
], ids=lambda value: repr(value)[:30])
async def test_what_is_not_http_is_refused_in_our_shape_and_closed(
        stack: AsyncExitStack, sent: bytes, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    server, _ = await house(stack)
    caller = await call(server, stack, sent)
    said = problem(await caller.rest())
    assert said[0] == status
    assert "canary" not in str(said) + caplog.text
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def frame(payload: bytes, *, masked: bool) -> bytes:
    """A text frame of less than 126 bytes (RFC 6455 §5.2); a mask of zeros changes nothing."""
    return bytes([0x81, (0x80 if masked else 0) | len(payload)]) + (bytes(4) if masked else b"") + payload


@pytest.mark.parametrize("early", [False, True], ids=["after the handshake", "with the handshake"])
@pytest.mark.parametrize("before", [0, 2])
async def test_a_frame_that_is_not_masked_breaks_the_socket_off(
        stack: AsyncExitStack, *, before: int, early: bool) -> None:
    server, _ = await house(stack)
    frames = frame(FRAME, masked=True) * before + frame(FRAME, masked=False)
    caller = await call(server, stack, HANDSHAKE + (frames if early else b""))
    async with asyncio.timeout(10):
        await caller.reader.readuntil(b"\r\n\r\n")
    if not early:
        caller.say(frames)
    assert (await caller.rest()).endswith(b"\x88\x02\x03\xea")
    await until(lambda: not server.connections.open)


async def test_a_socket_has_no_deadline_but_for_what_is_written_to_it(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"http://127.0.0.1:{server.port}/ws/generate") as socket:
            server.pass_time(10_000)
            await socket.send_json({"prompt": "Hi"})
            assert (await socket.receive_json())["success"] is True


async def test_the_log_says_once_a_look_what_callers_failed_to_do(
        stack: AsyncExitStack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    server, _ = await house(stack)
    for _ in range(3):
        await call(server, stack, GET[:20])
    caplog.clear()
    server.pass_time(21)
    assert caplog.messages == ["3 connections are closed: their callers did not send their headers in time."]


async def test_empty_lines_before_a_request_give_nobody_more_time(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    silent, slow = await call(server, stack, b"\r\n\r\n"), await call(server, stack, b"\r\n\r\nGET / HTTP/1.1\r\nX-A: ")
    server.pass_time(10.1)
    assert await silent.rest() == b""
    server.pass_time(10)
    assert problem(await slow.rest())[0] == 408
    told = await call(server, stack, b"\r\n\r\n" + GET)
    assert (await told.answer())[0].startswith(b"HTTP/1.1 200 ")


async def test_a_head_in_one_piece_is_as_large_as_one_in_many(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, b"\r\n" + GET[:-2] + (b"X-Filler: " + b"x" * 8000 + b"\r\n") * 9 + b"\r\n")
    assert problem(await caller.rest())[0] == 431


async def test_requests_that_wait_behind_one_another_are_all_answered(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    body = json.dumps({"prompt": "Hi", "system": "x" * 200_000}).encode()
    post = b"POST /reading HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n" % (JSON, len(body)) + body
    caller = await call(server, stack)
    for _ in range(20):
        caller.say(GET + GET + post)
        assert [(await caller.answer())[0][:15] for _ in range(3)] == [b"HTTP/1.1 200 OK"] * 3


async def test_large_heads_behind_a_request_that_is_handled_are_not_kept(stack: AsyncExitStack) -> None:
    server, app = await house(stack)
    large = GET[:-2] + (b"X-Filler: " + b"x" * 8000 + b"\r\n") * 5 + b"\r\n"
    caller = await call(server, stack, GET.replace(b"/health", b"/slow"))
    for _ in range(5):
        caller.say(large)
        await settled()
    assert await caller.rest() == b""
    await until(lambda: not server.connections.open)


async def test_a_head_that_follows_an_unread_body_is_held_to_its_bounds(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, b"POST /nonesuch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
    await caller.answer()
    await reaches(server, "unread")
    caller.say(b"x")
    await until(lambda: all(connection._body.is_eof() for connection in server.connections._open))
    caller.say(GET[:-2])
    await reaches(server, "head")
    server.pass_time(20.1)
    assert problem(await caller.rest())[0] == 408


async def test_a_body_of_tiny_chunks_is_read_so_far_and_no_further(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, b"POST /reading HTTP/1.1\r\nHost: localhost\r\n" + JSON
                        + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(LARGEST_BODY // 60_000 + 1):
        assert server.connections.open == 1
        caller.say(b"1\r\nx\r\n" * 10_000)
        await settled()
    await until(lambda: not server.connections.open)


async def test_one_stranger_cannot_hold_the_loop_with_tiny_frames(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, HANDSHAKE)
    async with asyncio.timeout(10):
        await caller.reader.readuntil(b"\r\n\r\n")
    caller.say(b"\x89\x80\0\0\0\0" * 40)
    assert b"Too many frames at once" in await caller.rest()


async def test_a_frame_that_is_begun_must_end_in_time(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    caller = await call(server, stack, HANDSHAKE)
    async with asyncio.timeout(10):
        await caller.reader.readuntil(b"\r\n\r\n")
    server.pass_time(10_000)
    caller.say(frame(FRAME, masked=True)[:-1])
    await settled()
    server.pass_time(59)
    await settled()
    assert not caller.hung_up
    server.pass_time(2)
    assert b"The frame took too long to arrive" in await caller.rest()
