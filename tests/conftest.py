"""What every test file may ask for: a server as it runs in production, on a real socket."""
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
from aiohttp import web

from aioapp.app import create_app, runner_of
from aioapp.credentials import fixed
from aioapp.settings import Settings
from aioapp.web.context import SERVICES
from tests.node_modules import modules


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own for what servers keep, those in other processes included."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def installed() -> Path:
    """The folder where the scripts for Node are, beside what they import."""
    return modules()


class Serve(Protocol):
    """Start a server. Settings by name; `upstream` is a URL, `None` for the simulator at full speed."""

    def __call__(self, upstream: str | None = None, **settings: Any) -> Awaitable[str]: ...


async def start(app: web.Application, stack: AsyncExitStack) -> str:
    """Run `app` as `python -m aioapp` does, until `stack` ends; gives its URL."""
    runner = runner_of(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return "http://{}:{}".format(*runner.addresses[0])


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack: AsyncExitStack) -> Serve:
    async def serve(upstream: str | None = None, **settings: Any) -> str:
        if upstream is None:
            app = create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2, **settings))
        else:
            app = create_app(Settings(base_url=upstream, **{"shutdown_timeout": 0.2, **settings}),
                             credentials=fixed("sk-canary-key", "ANTHROPIC_API_KEY"))
        return await start(app, stack)

    return serve


@pytest.fixture
async def http(stack: AsyncExitStack) -> aiohttp.ClientSession:
    return await stack.enter_async_context(aiohttp.ClientSession())


def with_services(app: web.Application, **changes: Any) -> web.Application:
    """The same application with some of its services changed once they are there: times, above all."""
    async def change(app: web.Application) -> None:
        app[SERVICES] = replace(app[SERVICES], **changes)

    app.on_startup.append(change)
    return app
