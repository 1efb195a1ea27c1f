"""SIGHUP replaces the workers one by one, and nobody who calls meanwhile sees it; the settings' file is read anew."""
import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from aioapp.cli.supervisor.replacement import keep
from tests.processes import AIOAPP, Server, alive, children_of, serving, started, until, upstream_at
from tests.test_cli_supervisor import all_end, kept, workers
from tests.test_shutdown import ASK, Held, asked, held, stream
from tests.upstreams import Connection, upstream, whole

FAST = ("--simulate", "--simulate-pace", "0")
SERVES = "import os, time; os.write(int(os.environ['AIOAPP_LIFELINE']), b'!'); time.sleep(60)"


async def replaced(server: Server, before: set[int]) -> set[int]:
    """Tell the server to replace its workers. Gives the new ones, once it says that all are."""
    times = server.err.count("All workers are replaced.")
    server.tell(signal.SIGHUP)
    await until(lambda: server.err.count("All workers are replaced.") > times)
    return children_of(server.pid) - before


async def model_of(http: aiohttp.ClientSession, server: Server) -> str:
    async with http.get(f"{server.url}/health", headers={"Connection": "close"}) as response:
        assert response.status == 200
        return str((await response.json())["model"])


async def test_calls_streams_and_sockets_go_on_while_all_workers_are_replaced(http: aiohttp.ClientSession) -> None:
    script = Held()

    async def answering(connection: Connection) -> None:
        await (script if connection.body.get("stream") else whole)(connection)

    async with upstream(answering) as claude, serving("--workers", "2", env=upstream_at(claude.url)) as server:
        before, over = await kept(server, 2), asyncio.Event()
        told: list[int] = []
        closed: list[bool] = []

        async def call(*, fresh: bool) -> None:
            """One after the other, on connections that are kept, or on one for each."""
            headers = {"Connection": "close"} if fresh else {}
            async with aiohttp.ClientSession(headers=headers) as caller:
                while not over.is_set():
                    async with caller.post(f"{server.url}/api/chat", json={"message": "Hi"}) as response:
                        told.append(response.status)
                        closed.append(not fresh and response.headers.get("Connection") == "close")
                        await response.read()

        async with (stream(http, server) as streamed, http.ws_connect(f"{server.url}/ws/generate") as busy,
                    http.ws_connect(f"{server.url}/ws/generate") as idle):
            await busy.send_json({**ASK, "stream": True})
            await asked(claude, 2)
            calling = [asyncio.create_task(call(fresh=fresh)) for fresh in (True, False) for _ in range(3)]
            await until(lambda: len(told) > 50)
            after = await replaced(server, before)
            assert len(after) == 2
            assert (await idle.receive()).data == 1001
            count = len(told)
            await until(lambda: len(told) > count + 50)
            over.set()
            await asyncio.gather(*calling)
            assert set(told) == {200} and sum(closed) >= 3  # each connection that was kept, by its last answer
            assert before & children_of(server.pid)  # for the stream, and for the socket on which something runs
            script.release.set()
            assert (await streamed.text()).endswith("data: [DONE]\n\n")
            frames = [message.data async for message in busy]
            assert '"done"' in frames[-1] and busy.close_code == 1001
        await http.close()  # with the connections that it keeps
        await all_end(before)
        assert children_of(server.pid) == after
        assert await server.end() == 0
    assert not [said for said in ("Traceback", "killed", "WARNING aioapp.supervisor") if said in server.err]


async def test_new_workers_read_the_file_of_settings_and_where_it_is_wrong_the_old_ones_go_on(
        http: aiohttp.ClientSession, tmp_path: Path) -> None:
    config = tmp_path / "aioapp.ini"
    config.write_text("model = claude-opus-4-7\nworkers = 2")
    async with serving(*FAST, "--config", str(config)) as server:
        before = await kept(server, 2)
        config.write_text("model = claude-haiku-4-5\nprot = 1")
        server.tell(signal.SIGHUP)
        await server.says("The new worker ended with status 2: those before it go on")
        assert children_of(server.pid) == before and await model_of(http, server) == "claude-opus-4-7"
        assert f"aioapp: --config: {config}: 'prot' is not a setting" in server.err
        config.write_text("model = claude-haiku-4-5")
        after = await replaced(server, before)
        await all_end(before)
        assert len(after) == 2 and await model_of(http, server) == "claude-haiku-4-5"
        victim = min(after)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: victim not in children_of(server.pid) and len(children_of(server.pid)) == 2)
        assert await server.end() == 0


async def test_one_worker_alone_ends_in_order(http: aiohttp.ClientSession) -> None:
    async with held() as (server, _, script), stream(http, server) as streamed:
        server.tell(signal.SIGHUP)
        await server.says("Stopping: 1 generations still run")
        script.release.set()
        assert (await streamed.text()).endswith("data: [DONE]\n\n")
        assert await server.ended() == 0


async def test_a_terminal_that_is_gone_ends_the_server_as_ever() -> None:
    command = (sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *AIOAPP)
    async with started(*FAST, "--workers", "2", command=command) as shell:
        await shell.says("serves http")
        [server] = children_of(shell.pid)
        before = children_of(server)
        os.kill(server, signal.SIGHUP)
        await shell.says("All workers are replaced")
        await all_end(before)
        pids = {server, *children_of(server)}
        assert len(pids) == 3
        shell.process.kill()
        await all_end(pids)


async def test_a_worker_that_is_replaced_and_dies_is_not_started_again(caplog: pytest.LogCaptureFixture) -> None:
    asked, caplog.handler.level = asyncio.Event(), 0
    caplog.set_level("INFO")
    keeping = asyncio.create_task(keep(workers([sys.executable, "-c", SERVES]), 1, asked=asked))
    [first] = await until(lambda: children_of(os.getpid()) or None)
    asked.set()
    await until(lambda: "All workers are replaced." in caplog.text)
    os.kill(first, signal.SIGKILL)
    await until(lambda: not alive(first))
    await asyncio.sleep(0.1)
    assert len(children_of(os.getpid())) == 1 and "another starts" not in caplog.text
    keeping.cancel()
    await asyncio.wait([keeping])
    assert not children_of(os.getpid())
