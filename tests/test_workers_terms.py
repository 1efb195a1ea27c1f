"""A key's terms changed in one process are in force in all others within a second, and answers that run go on."""
import asyncio
import sys
from contextlib import AsyncExitStack

import aiohttp

from tests.keyed import make_key, shown
from tests.processes import ROOT, environment, serving
from tests.test_cli_supervisor import kept, stopped
from tests.test_workers import SOON, Caller

TURN = 0.02
"""Seconds between two looks."""


async def aioapp_keys(*argv: str) -> str:
    """What the command line prints, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioapp", "keys", *argv, cwd=ROOT, env=environment({}), stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


async def becomes(caller: Caller, key: str, status: int) -> None:
    while (await caller.generate(key)).status != status:
        await asyncio.sleep(TURN)


async def test_an_update_by_the_command_line_is_in_force_in_both_workers_within_a_second() -> None:
    key = make_key("web")
    async with AsyncExitStack() as stack, serving(
            "--workers", "2", "--simulate", "--simulate-pace", "0.2", "--no-access-log") as server:
        pids, workers = await kept(server, 2), []
        for pid in pids:
            async with stopped(pids - {pid}):
                http = await stack.enter_async_context(aiohttp.ClientSession())
                workers.append(Caller(pid, server.url, http))
                assert await workers[-1].status(key) == 200
        running = [asyncio.create_task(worker.generate(key)) for worker in workers]
        for options, status in ((("--models", "claude-opus-*"), 403), (("--no-models",), 200),
                                (("--tokens-per-minute", "1"), 400), (("--no-tokens-per-minute",), 200),
                                (("--budget", "0.000000001", "--per", "day"), 400), (("--no-budget",), 200)):
            await aioapp_keys("update", "web", *options)
            async with asyncio.timeout(SOON):
                await asyncio.gather(*(becomes(worker, key, status) for worker in workers))
        assert [answer.status for answer in await asyncio.gather(*running)] == [200, 200]
        async with aiohttp.ClientSession(headers=shown(key)) as http, http.ws_connect(
                f"{server.url}/ws/generate") as socket:
            await aioapp_keys("update", "web", "--models", "x")
            await asyncio.sleep(SOON)
            await socket.send_json({"prompt": "Hi"})
            assert (await socket.receive_json())["error"] == "Forbidden"
        assert await server.end() == 0
