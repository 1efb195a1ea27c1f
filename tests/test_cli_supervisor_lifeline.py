"""What ties a worker to its supervisor: one that gives no sign of life is killed and replaced, and none besides."""
import asyncio
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

import aiohttp
import pytest

from aioapp.cli.supervisor.lifeline import follow, lifeline, silence
from aioapp.cli.supervisor.workers import Workers
from tests.processes import PATIENCE, Server, alive, children_of, serving, until
from tests.test_shutdown import status_of
from tests.test_cli_supervisor import kept, stopped

SIMULATED = ("--simulate", "--workers", "2")
HASTY = {"API_WORKER_TIMEOUT": "2"}
BLOCKING = """
import sys, time
from aioapp import create_app, main, set_access

async def block(request):
    time.sleep(60)

def build(settings, **more):
    app = create_app(settings, **more)
    set_access(app, app.router.add_post("/block", block), access="open")
    return app

sys.exit(main(build=build))
"""


async def serves_until_gone(server: Server, pid: int) -> None:
    """Whoever calls is answered as long as the worker `pid` is there."""
    async with asyncio.timeout(PATIENCE):
        while alive(pid):
            async with aiohttp.ClientSession() as caller:
                assert await status_of(caller, server, "/health") == 200


async def test_a_worker_that_stands_still_is_killed_and_replaced_while_the_other_serves() -> None:
    async with serving(*SIMULATED, env=HASTY) as server:
        before = await kept(server, 2)
        victim = min(before)
        async with stopped({victim}):
            await serves_until_gone(server, victim)
        assert victim not in await kept(server, 2)
        await server.says(f"Worker {victim} has given no sign of life for 2 s and is killed")
        assert await server.end() == 0
    assert "A worker ended with status -9; another starts" in server.err


async def test_a_worker_whose_loop_blocks_for_good_is_replaced_and_its_callers_are_cut_off(tmp_path: Path) -> None:
    program = tmp_path / "blocking.py"
    program.write_text(BLOCKING)
    command = (sys.executable, str(program), "--port", "0")
    async with serving(*SIMULATED, command=command, env=HASTY) as server, aiohttp.ClientSession() as caller:
        before = await kept(server, 2)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            async with asyncio.timeout(PATIENCE):
                await caller.post(f"{server.url}/block")
        victim = int((await server.says(r"Worker (\d+) has given no sign of life for 2 s"))[1])
        await until(lambda: not alive(victim))
        assert victim in before and victim not in await kept(server, 2)
        assert await status_of(caller, server, "/health") == 200
        assert await server.end() == 0


async def test_a_single_worker_that_reloads_is_looked_after_too(tmp_path: Path) -> None:
    async with serving("--simulate", "--reload", cwd=tmp_path, env=HASTY) as server:
        [victim] = await kept(server, 1)
        async with stopped({victim}):
            await until(lambda: children_of(server.pid) - {victim})
        async with aiohttp.ClientSession() as caller:
            assert await status_of(caller, server, "/health") == 200
        assert await server.end() == 0


async def test_a_worker_that_stands_still_does_not_hold_up_the_end() -> None:
    async with serving(*SIMULATED, "--shutdown-timeout", "600", env=HASTY) as server:
        async with stopped({min(await kept(server, 2))}):
            assert await server.end() == 0


async def test_nobody_is_killed_after_all_have_stood_still_together() -> None:
    """As on a machine that was suspended; whoever was stopped looks before the others have a chance to tell."""
    async with serving(*SIMULATED, env=HASTY) as server:
        pids = await kept(server, 2)
        async with stopped(pids), stopped({server.pid}):
            await asyncio.sleep(2.5)
        async with aiohttp.ClientSession() as caller, asyncio.timeout(PATIENCE):
            for _ in range(5):  # looks, in which each would have been found out
                assert await status_of(caller, server, "/health") == 200
                await asyncio.sleep(0.5)
        assert children_of(server.pid) == pids
        assert await server.end() == 0
    assert "no sign of life" not in server.err


async def test_a_worker_that_never_gets_as_far_as_a_sign_of_life_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(command=["sleep", "60"], env=os.environ, timeout=30.0, patience=60.0, sleep=Looks())
    keeping = asyncio.create_task(workers.keep_one())
    await until(lambda: "A worker ended with status -9" in caplog.text)
    assert re.search(r"Worker \d+ has given no sign of life for 30 s and is killed", caplog.text)
    keeping.cancel()
    await asyncio.wait([keeping])


@dataclass
class Looks:
    """A sleep that takes no time: it does what `happens` says, one thing a look, and counts the seconds it was for."""

    happens: Iterator[Callable[[], object]] = field(default_factory=lambda: repeat(lambda: None))
    seconds: float = 0.0

    async def __call__(self, seconds: float) -> None:
        self.seconds += seconds
        next(self.happens)()
        await asyncio.sleep(0)


async def test_a_silence_is_over_the_timeout_after_so_many_looks_and_not_before() -> None:
    looks = Looks()
    with lifeline() as (ours, _):
        await silence(ours, 30.0, sleep=looks)
    assert looks.seconds == 30.0


async def test_each_sign_of_life_begins_the_time_anew() -> None:
    with lifeline() as (ours, theirs):
        silent, sign = lambda: None, lambda: theirs.send(b".")
        looks = Looks(chain(*repeat([silent] * 59 + [sign], 3), repeat(silent)))
        await silence(ours, 30.0, sleep=looks)
    assert looks.seconds == 3 * 30.0 + 30.0


async def test_a_look_that_comes_late_is_one_look_however_late_it_comes() -> None:
    """As after a standstill of the supervisor's: it looks before the workers, who stood still too, have told."""
    with lifeline() as (ours, theirs):
        silent, sign, late = lambda: None, lambda: theirs.send(b"."), lambda: time.sleep(1.1)
        looks = Looks(chain([late, sign], repeat(silent)))
        await silence(ours, 1.0, sleep=looks)
    assert looks.seconds == 0.5 + 0.5 + 1.0


async def test_all_that_has_piled_up_while_the_supervisor_stood_still_is_one_sign_of_life() -> None:
    with lifeline() as (ours, theirs):
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                theirs.send(b".")
        looks = Looks()
        await silence(ours, 30.0, sleep=looks)
    assert looks.seconds == 0.5 + 30.0


async def test_an_end_that_is_closed_is_no_sign_of_life() -> None:
    looks = Looks()
    with lifeline() as (ours, theirs):
        theirs.close()
        await silence(ours, 30.0, sleep=looks)
    assert looks.seconds == 30.0


async def test_a_worker_whose_supervisor_does_not_read_goes_on_and_is_heard_once_it_reads() -> None:
    with lifeline() as (ours, theirs):
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                theirs.send(b"#")
        theirs.setblocking(True)
        follow(theirs.fileno(), every=0.01)
        await asyncio.sleep(0.05)
        assert set(ours.recv(2**20)) == set(b"#")
        await until(lambda: set(heard(ours)) == set(b"."))
        asyncio.get_running_loop().remove_reader(theirs.fileno())


def heard(ours: socket.socket) -> bytes:
    try:
        return ours.recv(2**16)
    except BlockingIOError:
        return b""
