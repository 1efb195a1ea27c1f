"""Several processes behind one address: they are replaced, renewed and ended together."""
import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from aioapp.cli.supervisor import patience
from aioapp.cli.supervisor.workers import Workers
from aioapp.settings import Settings
from tests.processes import Server, alive, children_of, serving, text_of, until, upstream_at
from tests.test_shutdown import Held, draining, generate, held, status_of, stream
from tests.upstreams import upstream


async def kept(server: Server, count: int) -> set[int]:
    """The pids of the workers, once there are `count`."""
    return await until(lambda: pids if len(pids := children_of(server.pid)) == count else None)


async def all_end(pids: set[int]) -> None:
    await until(lambda: not any(map(alive, pids)))


async def test_all_workers_answer_on_one_listening_socket() -> None:
    async with serving("--simulate", "--workers", "3") as server:
        pids = await kept(server, 3)
        for pid in pids:
            await answers_alone(server, pid, pids - {pid})
        assert await server.end() == 0
        assert not any(map(alive, pids))


async def answers_alone(server: Server, pid: int, others: set[int]) -> None:
    """While the others stand still: then whoever answers is `pid`."""
    async with stopped(others), aiohttp.ClientSession() as caller:
        assert await status_of(caller, server, "/health") == 200


@asynccontextmanager
async def stopped(pids: set[int]) -> AsyncIterator[None]:
    """While these processes stand still; they need not live until the end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: all(text_of(Path(f"/proc/{pid}/stat")).rpartition(") ")[2][:1] == "T" for pid in pids))
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def test_a_worker_that_dies_is_replaced_and_the_server_keeps_answering() -> None:
    async with serving("--simulate", "--workers", "2") as server:
        before = await kept(server, 2)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: not alive(victim))
        async with aiohttp.ClientSession() as caller:
            assert await status_of(caller, server, "/health") == 200
        after = await kept(server, 2)
        assert len(after - before) == 1
        assert await server.end() == 0
    assert "A worker ended with status -9" in server.err


async def test_workers_end_by_themselves_when_the_supervisor_is_killed() -> None:
    async with serving("--simulate", "--workers", "2") as server:
        pids = await kept(server, 2)
        await server.end(signal.SIGKILL)
        await all_end(pids)
        assert server.took < 2.0
    assert "Traceback" not in server.err


async def test_ctrl_c_in_a_terminal_lets_a_running_stream_finish(http: aiohttp.ClientSession) -> None:
    async with held("--workers", "2") as (server, _, script), stream(http, server) as streamed:
        os.killpg(server.pid, signal.SIGINT)
        async with aiohttp.ClientSession() as caller:
            await draining(caller, server)
        script.release.set()
        assert (await streamed.text()).endswith("data: [DONE]\n\n")
        assert await server.ended() == 0
    assert "Traceback" not in server.err and "KeyboardInterrupt" not in server.err


async def test_a_second_signal_ends_the_workers_too(http: aiohttp.ClientSession) -> None:
    async with held("--workers", "2") as (server, _, _), stream(http, server):
        pids = await kept(server, 2)
        server.tell()
        async with aiohttp.ClientSession() as caller:
            await draining(caller, server)
        assert await server.end() == -signal.SIGTERM
        await all_end(pids)
        assert server.took < 1.0


async def test_workers_wait_out_the_drain_delay_give_signs_of_life_and_end_by_themselves() -> None:
    delays = {"API_DRAIN_DELAY": "3", "API_WORKER_TIMEOUT": "2"}
    async with serving("--simulate", "--simulate-pace", "0", "--workers", "2", env=delays) as server:
        pids = await kept(server, 2)
        server.tell()
        async with aiohttp.ClientSession() as caller:
            await draining(caller, server)
            assert (await generate(caller, server))[0] == 200
        assert await server.ended() == 0
        assert server.took >= 3.0 and not any(map(alive, pids))
    assert "killed" not in server.err


async def test_a_server_that_reloads_has_no_drain_delay(tmp_path: Path) -> None:
    async with serving("--simulate", "--reload", cwd=tmp_path, env={"API_DRAIN_DELAY": "60"}) as server:
        assert await server.end() == 0


def test_a_worker_is_not_killed_before_its_delay_and_its_timeout_are_over() -> None:
    assert patience(Settings(drain_delay=60.0, shutdown_timeout=10.0)) > 70.0
    assert patience(Settings(drain_delay=60.0, shutdown_timeout=10.0, reload=True)) < 70.0


async def test_workers_take_the_flags_that_the_supervisor_was_given(http: aiohttp.ClientSession) -> None:
    async with serving("--simulate", "--workers", "2", "--model", "claude-opus-4-7") as server:
        async with http.get(f"{server.url}/health") as response:
            assert (await response.json())["model"] == "claude-opus-4-7"


async def test_a_change_of_a_source_renews_the_worker_once_its_request_has_finished(
        http: aiohttp.ClientSession, tmp_path: Path) -> None:
    script = Held()
    async with (upstream(script) as claude,
                serving("--reload", cwd=tmp_path, env=upstream_at(claude.url)) as server,
                stream(http, server) as streamed):
        before = await kept(server, 1)
        await changed(tmp_path / "extra.py", server)
        assert children_of(server.pid) == before
        script.release.set()
        assert (await streamed.text()).endswith("data: [DONE]\n\n")
        await until(lambda: children_of(server.pid) - before)
        async with aiohttp.ClientSession() as caller:
            assert await status_of(caller, server, "/health") == 200
        assert await server.end() == 0
    assert "Traceback" not in server.err


async def changed(source: Path, server: Server) -> None:
    """Write until it is noticed: nobody says when watching has begun."""
    async with asyncio.timeout(10):
        while "Sources have changed" not in server.err:
            source.write_text(source.read_text() + "#" if source.exists() else "")
            await asyncio.sleep(0.1)


def workers(command: Sequence[str], *, patience: float = 1.0, counts: Path | None = None) -> Workers:
    return Workers(command=command, env=os.environ, timeout=30.0, patience=patience, counts=counts)


async def test_a_program_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    keeping = asyncio.create_task(workers(["/nonexistent"]).keep_one())
    await until(lambda: "/nonexistent" in caplog.text)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_a_broken_worker_is_tried_again_after_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    keeping = asyncio.create_task(workers(["false"]).keep_one())
    await until(lambda: "another starts in 1 s" in caplog.text)
    assert "status 1; another starts in 0.5 s" in caplog.text
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_a_change_ends_the_pause_of_a_broken_worker(caplog: pytest.LogCaptureFixture) -> None:
    broken = workers(["false"])
    keeping = asyncio.create_task(broken.keep_one())
    for count in range(1, 8):  # by itself it would take 0.5 + 1 + 2 + … s
        await until(lambda: caplog.text.count("A worker ended") >= count)
        broken.renew()
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_a_worker_that_does_not_end_is_killed(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    stubborn = ["sh", "-c", f"trap '' TERM; touch {tmp_path}/ready; while :; do sleep 1; done"]
    keeping = asyncio.create_task(workers(stubborn, patience=0.1).keep_one())
    await until((tmp_path / "ready").exists)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert "did not end in time and is killed" in caplog.text


async def test_what_a_worker_counted_and_cannot_be_removed_keeps_the_next_from_nothing(
        caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    command = ["sh", "-c", f"mkdir {counts}/gauge_livesum_$$.db"]  # a folder is no file that could be removed
    keeping = asyncio.create_task(workers(command, counts=counts).keep_one())
    await until(lambda: "another starts in 1 s" in caplog.text)
    assert caplog.text.count("A worker ended with status 0") == caplog.text.count("/metrics goes on telling") == 2
    keeping.cancel()
    await asyncio.wait([keeping])
