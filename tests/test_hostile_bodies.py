"""What the dearest requests cost: milliseconds of the event loop, bytes of an error, mebibytes of memory.

The server is a process of its own, without coverage, whose loop notes how long it computed without a turn for others.
Run with `-s`, the test prints a table.
"""
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import aiohttp
from yarl import URL

from tests.dear import Dear, catalogue
from tests.keyed import make_key, shown
from tests.processes import Server, serving, upstream_at
from tests.upstreams import upstream, whole
from tests.watched import Held

MOST_HELD = 0.020
MOST_SECONDS = 0.040
MOST_ERROR = 2**16
MOST_MEMORY = 2**25
RUNS = 5
"""The least of so many counts: other programs push ours out of the processor's caches."""
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}
PATIENCE = 60.0
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is that of HTTP; of a frame it is 200 or 422, by its `success`, or the code that closed the socket."""

    status: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """`held` are the seconds for which nobody else had a turn, `seconds` all that were computed."""

    where: str
    name: str
    answer: Answer
    held: float
    seconds: float
    memory: int

    @property
    def is_bearable(self) -> bool:
        refused = self.answer.status >= 400
        return (self.answer.status != 500 and self.held <= MOST_HELD and self.seconds <= MOST_SECONDS
                and self.memory <= MOST_MEMORY and not (refused and self.answer.size > MOST_ERROR))

    def __str__(self) -> str:
        return (f"| `{self.where[:30]}` {self.name} | {self.answer.status} | {self.held * 1000:.1f} "
                f"| {self.seconds * 1000:.1f} | {self.answer.size:,} | {self.memory / 2**20:.1f} |")


def computed(server: Server) -> float:
    """Seconds that the process's main thread, where its loop runs, has computed (proc(5), schedstat)."""
    return int(Path(f"/proc/{server.pid}/schedstat").read_text().split()[0]) / 1e9


def memory(server: Server, *, most: bool) -> int:
    """Bytes that the process holds, or has held at most since that was forgotten."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmHWM:" if most else "VmRSS:")[2].split()[0]) * 1024


def forget_most(server: Server) -> None:
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


@dataclass(frozen=True, slots=True)
class Caller:
    """Asks one server, over real sockets."""

    server: Server
    held: Held
    http: aiohttp.ClientSession
    key: str

    async def cost(self, dear: Dear) -> Cost:
        forget_most(self.server)
        before = memory(self.server, most=False)
        runs = [await self._run(dear)]
        while len(runs) < RUNS and min(held for _, held, _ in runs) > MOST_HELD / 4:
            runs.append(await self._run(dear))
        answers, helds, seconds = zip(*runs)
        return Cost(where=dear.where, name=dear.name, answer=answers[-1], held=min(helds), seconds=min(seconds),
                    memory=memory(self.server, most=True) - before)

    async def _run(self, dear: Dear) -> tuple[Answer, float, float]:
        self.held.most, began = 0.0, computed(self.server)
        async with asyncio.timeout(PATIENCE):
            answer = await self._answered(dear)
        await asyncio.sleep(0.002)  # while it puts away what it needed
        return answer, self.held.most, computed(self.server) - began

    async def _answered(self, dear: Dear) -> Answer:
        match dear.where:
            case "FRAME":
                return await self._frame(dear, shown(self.key))
            case "FIRST FRAME":
                return await self._frame(dear, {})
        return await self._request(dear)

    async def _request(self, dear: Dear) -> Answer:
        method, path = dear.where.split(" ")
        url = URL(f"{self.server.url}{path}?{dear.query}", encoded=True)
        headers = {**shown(self.key), **JSON, **dear.headers}
        async with self.http.request(method, url, data=dear.body or None, headers=headers) as response:
            return Answer(response.status, len(await response.read()))

    async def _frame(self, dear: Dear, headers: dict[str, str]) -> Answer:
        size = 0
        async with self.http.ws_connect(f"{self.server.url}/ws/generate", headers=headers, max_msg_size=0) as socket:
            with suppress(OSError):  # a stranger's frame need not be read to its end: the connection may close
                await socket.send_frame(dear.body, aiohttp.WSMsgType.TEXT)
            async for message in socket:
                size += len(message.data.encode())
                if headers and "success" in (frame := json.loads(message.data)):
                    return Answer(200 if frame["success"] else 422, size)
        return Answer(socket.close_code or 0, size)


@asynccontextmanager
async def called() -> AsyncIterator[Caller]:
    key = make_key("web", admin=True)
    with tempfile.NamedTemporaryFile() as shared:
        shared.write(bytes(8))
        shared.flush()
        command = (sys.executable, "-m", "tests.watched", shared.name)
        async with (upstream(whole) as claude, aiohttp.ClientSession() as http,
                    serving(command=command, env=upstream_at(claude.url) | UNMEASURED) as server):
            caller = Caller(server, Held(Path(shared.name)), http, key)
            for where in ("POST /api/generate", "POST /api/stream", "FRAME", "GET /admin/keys"):
                await caller.cost(Dear(name="ordinary", where=where, body=b'{"prompt":"Hi"}'))  # what is done once
            yield caller
            assert server.process.returncode is None
            assert "rror" not in server.err, server.err


def table(costs: Iterable[Cost], *, each: int = 3) -> str:
    """The dearest requests of each place, as Markdown."""
    head = "| request | status | ms held | ms in all | bytes of the answer | MiB |\n|---|---|---|---|---|---|"
    ordered = sorted(costs, key=lambda cost: (cost.where, -cost.held))
    chosen = [cost for _, group in groupby(ordered, lambda cost: cost.where) for cost in list(group)[:each]]
    return "\n".join([head, *map(str, chosen)])


async def costs(dears: Iterable[Dear]) -> list[Cost]:
    async with called() as caller:
        return [await caller.cost(dear) for dear in dears]


async def test_no_request_up_to_a_mebibyte_holds_the_loop_up_or_has_a_large_error() -> None:
    found = await costs(catalogue())
    print(table(found))
    assert [str(cost) for cost in found if not cost.is_bearable] == []
