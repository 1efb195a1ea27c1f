"""What a machine can think of: every check of schemathesis on every documented operation finds nothing."""
import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from tests.conftest import Serve
from tests.contract import contract
from tests.keyed import make_key

EXAMPLES = 30
"""Most of each kind for each operation; the same ones every time."""
FORGETFUL = """
# What is answered is not used to ask: the administrator's key is in it, and would be revoked.
phases.examples.extra-data-sources.responses = false
phases.coverage.extra-data-sources.responses = false
phases.fuzzing.extra-data-sources.responses = false
"""
CONFIGURATION = """
# A text that is too long by itself may make the whole body too long, which is told first.
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "413", "429", "5xx"]

# OpenAPI has no word for a handshake, so a plain GET fits all that is documented of it; it is told to upgrade.
[[operations]]
include-path = "/ws/generate"
checks.positive_data_acceptance.expected-statuses = ["426"]

# What is passed on is Claude's to refuse, or in its place the simulator's.
[[operations]]
include-path-regex = "^/v1/"
checks.positive_data_acceptance.expected-statuses = ["2xx", "4xx", "5xx"]

# JSON Schema has no word for a time to come, nor for a name that is reserved.
[[operations]]
include-operation-id = "createKey"
checks.positive_data_acceptance.expected-statuses = ["201", "403", "409", "422"]

# Nor for what is there to be changed: an amount alone changes a budget, and makes none.
[[operations]]
include-operation-id = "updateKey"
checks.positive_data_acceptance.expected-statuses = ["200", "403", "404", "409", "422"]
"""


async def schemathesis(url: str, folder: Path, *more: str, first: str = "") -> tuple[int | None, str]:
    """The exit status of a run, and what it said. What it keeps, it keeps in `folder`."""
    (folder / "schemathesis.toml").write_text(first + CONFIGURATION)
    command = (sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
               "--config-file", "schemathesis.toml", "run", f"{url}/openapi.json", "--checks", "all", "--no-color",
               "--max-examples", str(EXAMPLES), "--generation-deterministic", "--continue-on-failure",
               *more)
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=PIPE, stderr=STDOUT)
    try:
        async with asyncio.timeout(90):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()


async def test_nothing_that_is_documented_can_be_contradicted(serve: Serve, tmp_path: Path) -> None:
    status, said = await schemathesis(await serve(), tmp_path)
    assert status == 0, said
    assert "Selected: 25/25" in said and "Tested: 25" in said


async def test_nothing_that_administrators_are_told_can_be_contradicted(serve: Serve, tmp_path: Path) -> None:
    """Without the phase that follows links: it finds the key that it shows itself, and revokes it."""
    key = make_key("root", admin=True)
    status, said = await schemathesis(
        await serve(), tmp_path, "--header", f"X-API-Key: {key}", "--include-path-regex", "^/(admin|api/usage|metrics)",
        "--phases", "examples,coverage,fuzzing", first=FORGETFUL)
    assert status == 0, said
    assert "Selected: 11/25" in said and "Tested: 11" in said


async def test_a_server_that_sends_other_events_than_it_documents_is_found_out(
        stack: AsyncExitStack, tmp_path: Path) -> None:
    paths = {"/api/stream": contract().document["paths"]["/api/stream"]}

    async def openapi(request: web.Request) -> web.Response:
        return web.json_response({**contract().document, "paths": paths, "servers": [{"url": "/"}]})

    async def lie(request: web.Request) -> web.Response:
        return web.Response(text="event: delta\ndata: {}\n\n", content_type="text/event-stream")

    app = web.Application()
    app.add_routes([web.get("/openapi.json", openapi), web.post("/api/stream", lie)])
    runner = web.AppRunner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    status, said = await schemathesis("http://{}:{}".format(*runner.addresses[0]), tmp_path, "--phases", "examples")
    assert status == 1
    assert "SSE event violates schema" in said and "Missing required response headers" in said, said
