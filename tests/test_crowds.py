"""A thousand who send slowly and five hundred who never read, and those beside them who only want an answer."""
import asyncio
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import httpx

from tests.processes import Server, serving, until

SENDERS, READERS = 1000, 500
FLAGS = ("--simulate", "--simulate-pace", "0", "--no-access-log", "--first-byte-timeout", "4", "--head-timeout", "6",
         "--body-timeout", "8", "--keep-alive-timeout", "8", "--stall-timeout", "6")
LISTENING, GONE = "0A", "0"
"""How /proc/net/tcp says that a socket listens, and that no process has it any more."""
LONGEST = 0.05
"""Seconds that 99 of 100 callers beside them may wait at most."""
MOST_MEMORY = 200 * 2**20
HALF_A_BODY = (b"POST /api/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
               b"Content-Length: 100\r\n\r\n{")
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
UNREAD = [GET % b"/docs/assets/redoc.js", GET % b"/openapi.json" * 20]
"""A file, and answers in one piece."""


async def connected(server: Server) -> socket.socket:
    """A connection from which nobody reads, and of which the kernel keeps little."""
    url = httpx.URL(server.url)
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, (url.host, url.port))
    return made


async def senders(server: Server, stack: AsyncExitStack) -> list[socket.socket]:
    """Of three kinds: without a byte, with half a head, and with half a body."""
    made = [stack.enter_context(await connected(server)) for _ in range(SENDERS)]
    for index, one in enumerate(made):
        one.send([b"", b"GET / HTTP/1.1\r\n", HALF_A_BODY][index % 3])
    return made


async def readers(server: Server, stack: AsyncExitStack) -> list[socket.socket]:
    made = [stack.enter_context(await connected(server)) for _ in range(READERS)]
    for index, one in enumerate(made):
        one.send(UNREAD[index % 2])
    return made


async def waits(server: Server, count: int = 200) -> float:
    """Seconds that 99 of 100 requests take at most, one after the other."""
    took = []
    async with aiohttp.ClientSession() as http:
        for _ in range(count):
            began = time.perf_counter()
            async with http.post(f"{server.url}/api/generate", json={"prompt": "Hi"}) as response:
                assert response.status == 200
                await response.read()
            took.append(time.perf_counter() - began)
    return sorted(took)[-1 - count // 100]


def memory(pid: int) -> int:
    """Bytes that are resident."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def held(server: Server) -> int:
    """Connections to the server's port that it has not let go of."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    here = f":{httpx.URL(server.url).port:04X}"
    return len([row for row in rows if row[1].endswith(here) and row[3] != LISTENING and row[9] != GONE])


async def drip(slow: list[socket.socket]) -> None:
    """A byte a second from each of those who have begun to send."""
    while True:
        await asyncio.sleep(1)
        for one in slow[1::3] + slow[2::3]:
            try:
                one.send(b"x")
            except OSError:
                pass  # it was hung up on, which is what this is about


async def test_those_who_are_slow_hold_nobody_up_and_are_gone_in_the_end() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(*FLAGS))
        slow = await senders(server, stack)
        await readers(server, stack)
        dripping = asyncio.create_task(drip(slow))
        try:
            # The machine may be busy with other things: what counts is what the server can do.
            best = min([await waits(server) for _ in range(3)])
            most = memory(server.pid)
            assert held(server) > SENDERS // 3 + READERS
            async with asyncio.timeout(60):
                while held(server):
                    await asyncio.sleep(0.2)
                    most = max(most, memory(server.pid))
        finally:
            dripping.cancel()
        assert best < LONGEST
        assert most < MOST_MEMORY
        print(f"p99 {best * 1e3:.1f} ms, {most / 2**20:.0f} MiB")
        await until(lambda: "did not read in time" in server.err and "send their body in time" in server.err)
