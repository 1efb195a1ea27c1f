"""The work of a request, an event and a frame, in calls of Python's functions: a clock would count neighbours too.

Counted is every call of a function written in Python, and every step of a coroutine or generator, that the server makes
from one request to the next, on uvloop, as it is served. A change that adds a tenth to one of the numbers below is seen
here, and one that takes two tenths away is to lower it.
"""
import asyncio
import json
import statistics
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import aiohttp
import pytest
import uvloop
from aiohttp import web

from aioapp.app import create_app, runner_of
from aioapp.callers import Budget, Limits
from aioapp.credentials import fixed
from aioapp.keys import Key
from aioapp.money import NANO
from aioapp.settings import Settings
from aioapp.store.embedded import open_store
from tests.keyed import shown
from tests.upstreams import BLOCK, END, MESSAGE, START, Connection, delta, upstream

TENTH = 0.1
MOST = {
    "a request with a key and four limits": 472,
    "a request without a key": 412,
    "an event of a stream of text": 0.40,
    "an event of a stream of events": 2.39,
    "a frame of a socket": 2.33,
}
TERMS = Limits(requests_per_minute=10**6, tokens_per_minute=10**9, concurrency=100)
TIMES = 15
DELTAS = 400
QUIET = 0.004
"""Seconds without a call, after which a request is over."""

Ask = Callable[[aiohttp.ClientSession, str], Awaitable[None]]


class Server:
    """The server on a thread of its own, whose calls are counted."""

    def __init__(self, url: str, database: Path) -> None:
        self.calls, self.url, self._loop = 0, "", uvloop.new_event_loop()
        self._settings = Settings(base_url=url, database=str(database), access_log=False)
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def __enter__(self) -> "Server":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        runner = runner_of(create_app(self._settings, credentials=fixed("k", "test"), loopback=True))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*runner.addresses[0])
        sys.set_asyncgen_hooks(firstiter=None)  # as `serve` does
        sys.setprofile(self._count)
        self._ready.set()
        await self._over.wait()
        sys.setprofile(None)
        await runner.cleanup()

    def _count(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            self.calls += 1

    async def quiet(self) -> int:
        """The calls by now, once there are no more."""
        before = -1
        while before != self.calls:
            before = self.calls
            await asyncio.sleep(QUIET)
        return before


async def answers(connection: Connection) -> None:
    """As many deltas as `max_tokens` says, all in one write, or a whole message."""
    if not connection.body.get("stream"):
        return await connection.answer(200, json.dumps(MESSAGE).encode())
    events = [START + BLOCK, *[delta("word ")] * (connection.body["max_tokens"] - 1), END]
    await connection.begin()
    await connection.send(b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in events))
    await connection.finish()


@asynccontextmanager
async def counted(folder: Path, *, keyed: bool) -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    headers: Mapping[str, str] = {}
    if keyed:
        key = Key(name="web", limits=TERMS, budget=Budget(nanodollars=10**6 * NANO, per="month"),
                  created_at=datetime.now(UTC))
        async with open_store(folder / "db", create=True) as store:
            headers = shown(await store.keys.create(key, by=None, at=datetime.now(UTC)))
    async with upstream(answers) as claude, aiohttp.ClientSession(headers=headers) as http:
        with Server(claude.url, folder / "db") as server:
            yield server, http


async def calls(server: Server, http: aiohttp.ClientSession, ask: Ask) -> float:
    """Of one request: the median, for what the server does now and then falls into some of them."""
    found = []
    for number in range(TIMES + 3):
        before = await server.quiet()
        async with asyncio.timeout(10):
            await ask(http, server.url)
        found.append(await server.quiet() - before)
    return statistics.median(found[3:])


def generate() -> Ask:
    async def ask(http: aiohttp.ClientSession, url: str) -> None:
        async with http.post(f"{url}/api/generate", json={"prompt": "Hi", "max_tokens": 500}) as response:
            assert response.status == 200
            await response.read()

    return ask


def stream(form: str) -> Callable[[int], Ask]:
    def asking(most: int) -> Ask:
        async def ask(http: aiohttp.ClientSession, url: str) -> None:
            body = {"prompt": "Hi", "max_tokens": most, "format": form}
            async with http.post(f"{url}/api/stream", json=body) as response:
                assert (await response.read()).endswith(b"\n\n")

        return ask

    return asking


def socket(most: int) -> Ask:
    async def ask(http: aiohttp.ClientSession, url: str) -> None:
        async with http.ws_connect(f"{url}/ws/generate") as opened:
            await opened.send_json({"prompt": "Hi", "max_tokens": most, "stream": True})
            async for message in opened:
                if '"success":' in message.data:
                    assert '"success":true' in message.data
                    return

    return ask


def check(what: str, found: float) -> None:
    print(f"{what}: {found:.2f} calls")
    assert found <= MOST[what] * (1 + TENTH), "it became more work: was it worth that?"
    assert found >= MOST[what] * (1 - 2 * TENTH), "it became less work: lower the number, so that it stays"


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_request_takes_no_more_calls_than_it_did(keyed: bool, tmp_path: Path) -> None:
    async with counted(tmp_path, keyed=keyed) as (server, http):
        found = await calls(server, http, generate())
    check("a request with a key and four limits" if keyed else "a request without a key", found)


@pytest.mark.parametrize(("what", "asking"), [
    ("an event of a stream of text", stream("text")), ("an event of a stream of events", stream("events")),
    ("a frame of a socket", socket)])
async def test_an_event_takes_no_more_calls_than_it_did(
        what: str, asking: Callable[[int], Ask], tmp_path: Path) -> None:
    async with counted(tmp_path, keyed=True) as (server, http):
        few, many = [await calls(server, http, asking(most)) for most in (1 + DELTAS, 1 + 2 * DELTAS)]
    check(what, (many - few) / DELTAS)


async def test_more_work_would_be_seen(tmp_path: Path) -> None:
    async with counted(tmp_path, keyed=True) as (server, http):
        found = [await calls(server, http, generate()) for _ in range(2)]
    assert abs(found[0] - found[1]) <= found[0] * TENTH / 4
    with pytest.raises(AssertionError, match="more work"):
        check("a request without a key", found[0] * 2)
