"""The same promises under `python -m aioapp` and under gunicorn, which takes the application from a factory."""
import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSMsgType

from aioapp.store.embedded.marker import marker_of
from tests.keyed import database, make_key
from tests.processes import AIOAPP, GUNICORN, Server, alive, children_of, serving, started, until, upstream_at
from tests.test_shutdown import ASK, Held, asked, generate, stream
from tests.test_cli_supervisor import answers_alone, kept, stopped
from tests.upstreams import Upstream, upstream

RUNNERS = {
    "python": AIOAPP,
    "gunicorn": GUNICORN,
    "gunicorn with workers": (*GUNICORN, "--workers", "2"),
}


@pytest.fixture(params=RUNNERS)
def command(request: pytest.FixtureRequest) -> Sequence[str]:
    return RUNNERS[request.param]


@asynccontextmanager
async def held(command: Sequence[str], **more: str) -> AsyncIterator[tuple[Server, Upstream, Held]]:
    script = Held()
    async with upstream(script) as claude, serving(command=command, env={**upstream_at(claude.url), **more}) as server:
        yield server, claude, script


async def test_rest_streams_and_sockets_are_answered(http: aiohttp.ClientSession, command: Sequence[str]) -> None:
    async with serving(command=command, env={"API_SIMULATE": "1", "API_SIMULATE_PACE": "0"}) as server:
        status, answer = await generate(http, server)
        assert (status, answer["success"]) == (200, True)
        async with http.post(f"{server.url}/api/stream", json=ASK) as response:
            assert (await response.text()).endswith("data: [DONE]\n\n")
        async with http.ws_connect(f"{server.url}/ws/generate") as talk:
            await talk.send_json(ASK)
            assert (await talk.receive_json())["success"] is True
        assert await server.end() == 0
    assert "Traceback" not in server.err


async def test_trap_1_a_caller_who_leaves_a_stream_stops_claude_at_once(
        http: aiohttp.ClientSession, command: Sequence[str]) -> None:
    async with held(command) as (server, claude, _):
        async with stream(http, server) as response:
            response.close()
        await until(claude.seen[0].gone.is_set)
        await server.says("POST /api/stream left")


async def test_trap_1_a_caller_who_leaves_a_call_stops_claude_at_once(
        http: aiohttp.ClientSession, command: Sequence[str]) -> None:
    async with held(command) as (server, claude, _):
        call = asyncio.create_task(generate(http, server))
        await asked(claude)
        call.cancel()
        await until(claude.seen[0].gone.is_set)
        await server.says("POST /api/generate left")


async def test_trap_1_a_caller_who_leaves_a_socket_stops_claude_at_once(
        http: aiohttp.ClientSession, command: Sequence[str]) -> None:
    async with held(command) as (server, claude, _):
        async with http.ws_connect(f"{server.url}/ws/generate") as talk:
            await talk.send_json(ASK)
            await asked(claude)
        await until(claude.seen[0].gone.is_set)


async def test_a_signal_lets_a_stream_finish_and_nothing_stays_behind(
        http: aiohttp.ClientSession, command: Sequence[str]) -> None:
    async with held(command) as (server, _, script), stream(http, server) as streamed:
        children = children_of(server.pid)
        server.tell(signal.SIGTERM)
        script.release.set()
        assert (await streamed.text()).endswith("data: [DONE]\n\n")
        assert await server.ended() == 0
        assert not any(map(alive, children))
    assert "Traceback" not in server.err


async def test_gunicorn_ends_in_time_what_does_not_finish_and_sockets_with_1001(http: aiohttp.ClientSession) -> None:
    async with (held(GUNICORN, API_SHUTDOWN_TIMEOUT="0.3") as (server, _, _),
                stream(http, server) as streamed, http.ws_connect(f"{server.url}/ws/generate") as talk):
        server.tell(signal.SIGTERM)
        message = await talk.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        rest = await streamed.text()
        assert rest.startswith("event: error\ndata: {") and "The server is shutting down" in rest
        assert "[DONE]" not in rest
        assert await server.ended() == 0
        assert server.took < 0.3 + 1.0 + 2.0  # gunicorn's workers look up once a second
    assert "Traceback" not in server.err


async def test_gunicorn_kills_and_replaces_a_worker_that_stands_still() -> None:
    flags = ("--workers", "2", "--timeout", "2")
    async with serving(*flags, command=GUNICORN, env={"API_SIMULATE": "1", "API_SIMULATE_PACE": "0"}) as server:
        before = await kept(server, 2)
        victim = min(before)
        await answers_alone(server, victim, before - {victim})  # gunicorn looks after those that have started
        async with stopped({victim}):
            await until(lambda: not alive(victim))
        assert victim not in await kept(server, 2)
        async with aiohttp.ClientSession() as caller:
            assert (await generate(caller, server))[0] == 200
        assert await server.end() == 0


async def test_under_gunicorn_there_is_no_drain_delay(http: aiohttp.ClientSession) -> None:
    async with serving(command=GUNICORN, env={"API_SIMULATE": "1", "API_DRAIN_DELAY": "60"}) as server:
        assert (await generate(http, server))[0] == 200
        assert await server.end() == 0


@pytest.mark.parametrize(("variables", "said"), [
    ({"API_WORKERS": "many"}, "API_WORKERS: 'many' is not a whole number from 1 to 256"),
    ({"API_PORT": "x", "API_LOG_FORMAT": "json"}, "API_PORT: 'x' is not a whole number from 0 to 65535"),
    ({"API_CONFIG": "/nonexistent"}, "--config: /nonexistent cannot be read: No such file or directory"),
    ({"API_PRICES": __file__}, "--prices: ")])
async def test_gunicorn_ends_over_a_bad_setting_with_one_line_of_ours_and_its_own_status(
        variables: dict[str, str], said: str) -> None:
    async with started(command=(*GUNICORN, "--workers", "1"), env=variables) as server:
        assert await server.ended() == 3
    [line] = [line for line in server.err.splitlines() if said in line]
    assert line.startswith("{") if "API_LOG_FORMAT" in variables else "CRITICAL aioapp.app: " in line
    assert "Traceback" not in server.err and "Task" not in server.err
    assert server.err.count("Booting worker") == 1


async def test_no_worker_makes_a_database_anew_that_has_held_keys(http: aiohttp.ClientSession) -> None:
    make_key()
    async with serving(command=GUNICORN, env={"API_SIMULATE": "1", "API_SIMULATE_PACE": "0"}) as server:
        assert (await generate(http, server))[0] == 401
        for path in database().parent.glob("aioapp.db*"):
            if path.is_file() and path != marker_of(database()):
                path.unlink()
        [worker] = children_of(server.pid)
        os.kill(worker, signal.SIGKILL)
        await until(lambda: children_of(server.pid) not in ({worker}, set()))
        assert (await generate(http, server))[0] == 503
        assert not database().exists()
        await server.end()
    assert "it has held keys, and is gone" in server.err
