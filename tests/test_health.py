"""What `/health` and `/health/ready` say of each state in which a server cannot serve: which part is ill, and why."""
import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aioapp.app import create_app
from aioapp.credentials import find_credentials, fixed
from aioapp.settings import Settings
from aioapp.store.embedded.key_store import EmbeddedKeys
from aioapp.web.context import SERVICES
from tests.conftest import start
from tests.keyed import database, make_key, shown
from tests.upstreams import Connection, upstream, whole

PARTS = ("credentials", "database", "keys", "draining")
UNREADABLE = "It cannot be read: the log says why."
UNWRITABLE = "What is spent cannot be written into it: the log says why."
UNKNOWN = "It is not known who may come in: the log says why."
NONE = "There are none: /auth-status says where they are looked for."
UNUSABLE = "Those that were found cannot be used: /auth-status says why."
REFUSED = "Claude refused them: a call tries them again."
ENDING = "The server is shutting down."

Ask = Callable[[], Awaitable[None]]
State = Callable[[web.Application, Ask], AbstractAsyncContextManager[None]]


def application(**credentials: str) -> web.Application:
    """A server with these credentials in its environment."""
    found = find_credentials(credentials, loopback=False, home=Path("/nonexistent"), base_url="https://nowhere.invalid")
    return create_app(Settings(base_url="http://127.0.0.1:9", shutdown_timeout=0.2), credentials=found)


@asynccontextmanager
async def well(app: web.Application, ask: Ask) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def missing(app: web.Application, ask: Ask) -> AsyncIterator[None]:
    aside = database().with_name("aside")
    database().rename(aside)
    yield
    aside.rename(database())


@asynccontextmanager
async def broken(app: web.Application, ask: Ask) -> AsyncIterator[None]:
    async with missing(app, ask):
        database().write_bytes(b"no database, is it? " * 1000)
        yield


@asynccontextmanager
async def locked(app: web.Application, ask: Ask) -> AsyncIterator[None]:
    """By a program that writes: what is there can be read."""
    with closing(sqlite3.connect(database(), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await ask()
        yield
        other.execute("ROLLBACK")


@asynccontextmanager
async def without_its_keys(app: web.Application, ask: Ask) -> AsyncIterator[None]:
    with closing(sqlite3.connect(database(), isolation_level=None)) as other:
        for table in ("secrets", "keys"):
            other.execute(f"DELETE FROM {table}")
    yield


@asynccontextmanager
async def draining(app: web.Application, ask: Ask) -> AsyncIterator[None]:
    await app[SERVICES].drain.announce(0)
    yield


REFUSAL = b'{"type": "error", "error": {"type": "authentication_error", "message": "no"}}'
KEY = {"ANTHROPIC_API_KEY": "sk-canary-key"}
STATES: dict[str, tuple[State, Mapping[str, str], Mapping[str, str], int]] = {
    "all is well": (well, KEY, {}, 200),
    "no credentials": (well, {}, {"credentials": NONE}, 503),
    "credentials that cannot be sent": (
        well, {"ANTHROPIC_API_KEY": "sk-canary\nkey"}, {"credentials": UNUSABLE}, 503),
    "the database is missing": (
        missing, KEY, {"database": UNREADABLE, "keys": UNKNOWN}, 503),
    "the database is broken": (
        broken, KEY, {"database": UNREADABLE, "keys": UNKNOWN}, 503),
    "the database is locked": (locked, KEY, {"database": UNWRITABLE}, 503),
    "the database has lost its keys": (
        without_its_keys, KEY, {"keys": UNKNOWN}, 503),
    "the end has begun": (draining, KEY, {"draining": ENDING}, 503),
    "two at once": (draining, {}, {"credentials": NONE, "draining": ENDING}, 503),
}


async def told(http: aiohttp.ClientSession, url: str) -> tuple[int, dict[str, Any]]:
    async with http.get(url) as response:
        text = await response.text()
        assert "canary" not in text and str(database().parent) not in text
        return response.status, await response.json()


@pytest.mark.parametrize("name", STATES)
async def test_health_says_which_part_is_ill_and_whether_that_keeps_it_from_serving(
        stack: AsyncExitStack, http: aiohttp.ClientSession, name: str) -> None:
    state, environ, ill, status = STATES[name]
    key, app = make_key(), application(**environ)
    url = await start(app, stack)

    async def ask() -> None:
        async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}, headers=shown(key)):
            pass

    expected = {part: ill.get(part, "ok") for part in PARTS}
    async with state(app, ask):
        await reaches(http, url, expected)
        code, health = await told(http, f"{url}/health")
        assert (code, health["status"]) == (status, "healthy" if status == 200 else "unhealthy")
        assert health.keys() == {"status", "claude_client", "auth_type", "model", "checks", "timestamp"}
        assert health["claude_client"] == (
            "not initialized" if {"credentials", "draining"} & ill.keys() else "initialized")
        code, ready = await told(http, f"{url}/health/ready")
        assert (code, ready["status"], ready["checks"]) == (status, "ready" if status == 200 else "not ready", expected)
        assert (await told(http, f"{url}/health/live"))[0] == 200


async def reaches(http: aiohttp.ClientSession, url: str, checks: Mapping[str, str]) -> None:
    """Wait until this is what is told: it is seen within a second or two what the database is like."""
    for _ in range(200):
        seen = (await told(http, f"{url}/health"))[1]["checks"]
        if seen == checks:
            break
        await asyncio.sleep(0.05)
    assert seen == checks


async def nothing() -> None:
    pass


async def test_a_database_that_is_back_is_well_again(stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    make_key()
    app = application(ANTHROPIC_API_KEY="k")
    url = await start(app, stack)
    async with missing(app, nothing):
        await reaches(http, url, {"credentials": "ok", "database": UNREADABLE, "keys": UNKNOWN, "draining": "ok"})
    await reaches(http, url, dict.fromkeys(PARTS, "ok"))
    assert (await told(http, f"{url}/health/ready"))[0] == 200


async def test_credentials_that_claude_refused_are_told_and_still_tried(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    """It may take them again with the next call, so they are no reason to send nobody here."""
    refusing = True

    async def script(connection: Connection) -> None:
        if refusing:
            await connection.answer(401, REFUSAL)
        else:
            await whole(connection)

    claude = await stack.enter_async_context(upstream(script))
    app = create_app(Settings(base_url=claude.url, shutdown_timeout=0.2), credentials=fixed("sk-canary-key", "test"))
    url = await start(app, stack)
    for refusing, status, said in ((True, 503, REFUSED), (False, 200, "ok")):
        async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}) as response:
            assert response.status == status
        for path in ("/health", "/health/ready"):
            code, answer = await told(http, url + path)
            assert (code, answer["checks"]) == (200, {**dict.fromkeys(PARTS, "ok"), "credentials": said})


async def test_a_database_that_hangs_is_ill_after_five_seconds(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    app = application(ANTHROPIC_API_KEY="k")
    url, over = await start(app, stack), threading.Event()
    keys = app[SERVICES].keys
    assert isinstance(keys, EmbeddedKeys)
    hanging = asyncio.create_task(keys._database.read(lambda connection: over.wait()))
    try:
        await reaches(http, url, {"credentials": "ok", "database": UNREADABLE, "keys": UNKNOWN, "draining": "ok"})
    finally:
        over.set()
        await hanging
