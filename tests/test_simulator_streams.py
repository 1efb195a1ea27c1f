"""The simulator's events: their order, their pace, and a client that hangs up."""
import asyncio
from itertools import pairwise
from time import perf_counter

import pytest
from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import TestServer

from aioapp.simulator.server import create_simulator
from tests.simulated import COUNT, HEADERS, body, connected, events_in, post, running, stream

base = pytest.fixture(running)
http = pytest.fixture(connected)


async def test_a_stream_has_claudes_events_in_claudes_order(http: ClientSession) -> None:
    events = await stream(http, model="claude-sonnet-5-5")
    order = [key for key, after in pairwise([(e["type"], e.get("index")) for e in events] + [("", None)])
             if key != after]
    assert order == [
        ("message_start", None), ("content_block_start", 0), ("ping", None), ("content_block_delta", 0),
        ("content_block_stop", 0), ("content_block_start", 1), ("content_block_delta", 1), ("content_block_stop", 1),
        ("message_delta", None), ("message_stop", None)]
    kinds = [event["delta"]["type"] for event in events if event.get("index") == 0 and "delta" in event]
    assert kinds == ["thinking_delta"] * (len(kinds) - 1) + ["signature_delta"]


async def test_a_stream_starts_without_content_and_ends_with_the_whole_usage(http: ClientSession) -> None:
    events = await stream(http)
    _, whole = await post(http)
    start = events[0]["message"]
    assert (start["content"], start["stop_reason"], start["usage"]["output_tokens"]) == ([], None, 1)
    assert events[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert events[-2]["usage"]["input_tokens"] == start["usage"]["input_tokens"] == whole["usage"]["input_tokens"]


async def test_without_pace_a_stream_comes_in_one_piece_and_with_it_in_many() -> None:
    pieces = {}
    for pace in (0.0, 0.05):
        async with TestServer(create_simulator(pace=pace)) as server, ClientSession(headers=HEADERS) as session:
            async with session.post(server.make_url("/v1/messages"), json=body(stream=True)) as response:
                assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
                pieces[pace] = [piece async for piece, _ in response.content.iter_chunks()]
    assert len(pieces[0.0]) == 1 < 50 < len(pieces[0.05])
    first, second = (events_in(b"".join(chunks))[1:] for chunks in pieces.values())
    assert first == second


async def test_the_human_pace_is_fifty_tokens_a_second() -> None:
    async with TestServer(create_simulator(pace=0.5)) as server, ClientSession(headers=HEADERS) as session:
        begun = perf_counter()
        for streamed in (True, False):
            async with session.post(server.make_url("/v1/messages"), json=body(
                    stream=streamed, messages=COUNT, max_tokens=20)) as response:
                await response.read()
        assert 2 * 0.5 * (0.3 + 20 / 50) <= perf_counter() - begun < 5


async def hang_up(runner: web.AppRunner) -> None:
    """Start a long answer, read some of it and close the connection; returns once no handler is left."""
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    before = asyncio.all_tasks()
    async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}", headers=HEADERS) as session:
        response: ClientResponse = await session.post("/v1/messages", json=body(stream=True, max_tokens=1000, messages=[
            {"role": "user", "content": "count to 100000"}]))
        await response.content.readany()
        response.close()
    async with asyncio.timeout(2):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.001)
    await runner.cleanup()


@pytest.mark.parametrize("handler_cancellation", [True, False])
async def test_a_client_that_hangs_up_ends_its_answer_and_leaves_no_task_and_no_false_error(
        handler_cancellation: bool, caplog: pytest.LogCaptureFixture) -> None:
    await hang_up(web.AppRunner(create_simulator(pace=1), handler_cancellation=handler_cancellation))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
