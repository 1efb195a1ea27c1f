"""What a stream costs whose caller takes nothing, while Claude writes as fast as it can: memory that has a bound."""
import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.processes import AIOAPP, GUNICORN, PATIENCE, Server, children_of, serving, upstream_at
from tests.upstreams import BLOCK, START, delta

CALLERS = 40
MOST = 256 * 1024
"""Bytes of the server's memory that a stalled stream may hold."""
PAGE = os.sysconf("SC_PAGE_SIZE")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Torrent(asyncio.Protocol):
    """Answers whatever it is asked with a stream that never ends, of small events, as fast as they are taken."""

    events: bytes
    taken: list[int]
    transport: asyncio.Transport | None = None
    paused: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            assert self.transport is not None
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                 b"Transfer-Encoding: chunked\r\n\r\n" + chunk(START + BLOCK))
            self.pour()

    def pour(self) -> None:
        if self.transport is not None and not self.paused and not self.transport.is_closing():
            self.transport.write(self.events)
            self.taken[0] += len(self.events)
            asyncio.get_running_loop().call_soon(self.pour)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.pour()


@dataclass
class Source:
    url: str
    taken: list[int] = field(default_factory=lambda: [0])

    async def at_rest(self) -> None:
        """Wait until nobody takes any more."""
        async with asyncio.timeout(6 * PATIENCE):
            before = -1
            while before != self.taken[0]:
                before = self.taken[0]
                await asyncio.sleep(1.0)


@asynccontextmanager
async def torrent(events: bytes) -> AsyncIterator[Source]:
    taken = [0]
    server = await asyncio.get_running_loop().create_server(lambda: Torrent(events, taken), "127.0.0.1", 0)
    yield Source("http://127.0.0.1:{}".format(server.sockets[0].getsockname()[1]), taken)
    server.close()


def memory(server: Server, *, children: bool) -> int:
    pids = children_of(server.pid) if children else {server.pid}
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in pids)


def caller(url: str, request: bytes) -> socket.socket:
    """Asks, and reads nothing."""
    where = httpx.URL(url)
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((where.host, where.port))
    made.sendall(request)
    return made


def post(**body: str) -> bytes:
    data = json.dumps({"prompt": "Hi", **body}).encode()
    return (b"POST /api/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(data), data))


def socket_ask() -> bytes:
    data = json.dumps({"prompt": "Hi", "stream": True}).encode()
    masked = bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data
    return (b"GET /ws/generate HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + masked)


ASKS = {"text": post(), "events": post(format="events"), "socket": socket_ask()}
SMALL = b"".join(chunk(delta(word)) for word in ("a ", "few ", "words ", "of ", "text ") * 100)


@pytest.mark.parametrize("command", [AIOAPP, GUNICORN], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("ask", ASKS)
async def test_a_stalled_stream_holds_no_more_than_its_share(ask: str, command: Sequence[str]) -> None:
    async with torrent(SMALL) as source, serving(command=command, env=upstream_at(source.url)) as server:
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}/health") as response:
            assert response.status == 200
        first = [caller(server.url, ASKS[ask]) for _ in range(2)]
        await source.at_rest()
        before = memory(server, children=command is GUNICORN)
        more = [caller(server.url, ASKS[ask]) for _ in range(CALLERS)]
        await source.at_rest()
        grown = memory(server, children=command is GUNICORN) - before
        print(f"{ask}: {grown / CALLERS / 1024:.0f} KiB a stalled stream")
        for made in first + more:
            made.close()
    assert grown <= CALLERS * MOST
