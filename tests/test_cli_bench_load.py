"""The calls that `aioapp bench` makes, on real sockets, and the two ways in which it makes many of them."""
import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from aioapp.cli.bench.calls import CALLS, DIRECT, Finished, FirstText, Moments, Transport
from aioapp.cli.bench.connections import Connections, Target, connected
from aioapp.cli.bench.held import held
from aioapp.cli.bench.load import LATE, MOST_AT_ONCE, Load, open_loop
from aioapp.cli.bench.replies import CallFailed
from aioapp.cli.bench.statistics import Errors, Sample, Tally
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.settings import Settings
from tests.conftest import Serve
from tests.processes import until
from tests.upstreams import BLOCK, END, START, Connection, delta, upstream, whole

STREAMS: Sequence[Transport] = ("sse", "websocket")
NOBODY = "http://127.0.0.1:1"


def target(url: str, text: str = "Hi", *, max_tokens: int = 20, model: str | None = None) -> Target:
    return Target(url=url, prompt=TextPrompt(messages=(Turn("user", text),), max_tokens=max_tokens, model=model))


@pytest.mark.parametrize("transport", CALLS)
async def test_a_call_of_each_kind_is_timed_and_its_tokens_are_counted(transport: Transport, serve: Serve) -> None:
    async with upstream(whole) as claude:
        done = await Load(connections=1, seconds=5.0, calls=2).run(CALLS[transport], target(await serve(claude.url)))
    assert not done.errors and len(claude.seen) == 2
    assert 0 < done.figures["first_p50"] <= done.figures["whole_p50"]
    assert done.figures["tokens_per_second"] == pytest.approx(5 * done.figures["calls_per_second"])


@pytest.mark.parametrize("transport", CALLS)
async def test_load_of_each_kind_goes_on_for_its_time(transport: Transport, serve: Serve) -> None:
    began = time.perf_counter()
    done = await Load(connections=3, seconds=0.2).run(CALLS[transport], target(await serve(), max_tokens=200))
    assert not done.errors and done.figures["calls_per_second"] > 5
    assert time.perf_counter() - began >= 0.2


@pytest.mark.parametrize("transport", CALLS)
async def test_a_long_answer_is_counted_whole(transport: Transport, serve: Serve) -> None:
    """Its last event repeats all of the text, and is read in many pieces."""
    asked = target(await serve(), "Count to 3000", max_tokens=8000)
    done = await Load(connections=1, seconds=20.0, calls=1).run(CALLS[transport], asked)
    assert not done.errors
    assert done.figures["tokens_per_second"] > 3000 * done.figures["calls_per_second"]


@pytest.mark.parametrize("transport", STREAMS)
async def test_the_first_text_is_told_while_the_rest_is_not_there(transport: Transport, serve: Serve) -> None:
    seen = asyncio.Event()

    async def waits(connection: Connection) -> None:
        await connection.begin()
        await connection.chunk(START + BLOCK)
        await connection.chunk(delta("first"))
        await seen.wait()
        await connection.chunk(delta("last") + END)
        await connection.finish()

    async with upstream(waits) as claude, connected() as connections:
        told: list[FirstText | Finished] = []
        async for moment in CALLS[transport](connections, target(await serve(claude.url))):
            told.append(moment)
            seen.set()
    assert told == [FirstText(), Finished(5)]


async def test_a_socket_carries_one_call_after_another(serve: Serve) -> None:
    asked = target(await serve())
    async with connected() as connections:
        for _ in range(3):
            assert [moment async for moment in CALLS["websocket"](connections, asked)][-1] == Finished(20)
            assert len(connections.idle) == 1


@pytest.mark.parametrize("transport", CALLS)
async def test_a_direct_call_is_the_very_one_that_the_server_makes(transport: Transport, serve: Serve) -> None:
    async with upstream(whole) as claude, connected() as connections:
        asked = target(await serve(claude.url))
        direct = target(claude.url, model=Settings().model)
        fitted = Target(url=claude.url, prompt=direct.prompt.fitted(Settings().model)[0])
        await anext(CALLS[transport](connections, asked))
        assert [moment async for moment in DIRECT[transport](connections, fitted)][-1] == Finished(0)
    ours, theirs = claude.seen
    assert ours.body == theirs.body
    for name in ("anthropic-version", "content-type"):
        assert ours.headers[name] == theirs.headers[name]


@pytest.mark.parametrize("transport", CALLS)
async def test_a_server_that_refuses_is_counted_with_what_it_said_first(transport: Transport, serve: Serve) -> None:
    async def fails(connection: Connection) -> None:
        await connection.answer(400, b'{"error": {"type": "invalid_request_error", "message": "no"}}')

    async with upstream(fails) as claude:
        done = await Load(connections=2, seconds=5.0, calls=6).run(CALLS[transport], target(await serve(claude.url)))
    [(kind, errors)] = done.errors.items()
    assert kind == ("Bad request" if transport == "websocket" else "400 Bad request")
    assert errors.count == 6 and "no" in errors.first
    assert done.figures == {"calls_per_second": 0.0, "tokens_per_second": 0.0}


@pytest.mark.parametrize("transport", CALLS)
async def test_nobody_who_listens_is_counted_too(transport: Transport) -> None:
    done = await Load(connections=1, seconds=5.0, calls=3).run(CALLS[transport], target(NOBODY))
    [(kind, errors)] = done.errors.items()
    assert kind == "ClientConnectorError" and errors.count == 3 and "127.0.0.1:1" in errors.first


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_stream_that_ends_with_an_error_is_one(transport: Transport, serve: Serve) -> None:
    asked = target(await serve(), "Count to 50", max_tokens=200, model="simulate-error")
    done = await Load(connections=1, seconds=5.0, calls=1).run(CALLS[transport], asked)
    assert done.errors["Claude is overloaded"].count == 1


@pytest.mark.parametrize("transport", ["rest", "sse"])
@pytest.mark.parametrize("answer", [
    b'["no", "object"]', b"<html>\x1b[2J", b'{"success": true, "usage": null}', b"[" * 9999, b"data: Hello\n\n", b""])
async def test_what_is_not_aioapp_is_an_error_and_no_end(transport: Transport, answer: bytes) -> None:
    async def other(connection: Connection) -> None:
        await connection.answer(200, answer)

    async with upstream(other) as server:
        done = await Load(connections=1, seconds=5.0, calls=2).run(CALLS[transport], target(server.url))
    [(told, errors)] = done.errors.items()
    assert errors.count == 2 and errors.first.isprintable()
    assert told == ("the stream was cut" if transport == "sse" else "an answer of another kind")


async def test_of_422_it_tells_the_problem(serve: Serve) -> None:
    done = await Load(connections=1, seconds=5.0, calls=1).run(CALLS["rest"], target(await serve(), " "))
    assert "prompt" in done.errors["422 Validation failed"].first


async def fake(connections: Connections, asked: Target) -> Moments:
    """A call that takes one turn of the event loop."""
    await asyncio.sleep(0)
    yield Finished(1)


async def test_as_many_callers_as_are_wanted_are_under_way_and_no_call_too_many() -> None:
    under_way: list[int] = []
    counts = [0, 0]

    async def counted(connections: Connections, asked: Target) -> Moments:
        counts[0] += 1
        counts[1] += 1
        under_way.append(counts[0])
        await asyncio.sleep(0.001)
        counts[0] -= 1
        yield Finished(1)

    done = await Load(connections=7, seconds=60.0, calls=100).run(counted, target(NOBODY))
    assert max(under_way) == 7 and counts == [0, 100]
    assert "late_starts" not in done.figures


async def test_at_a_fixed_rate_the_time_of_a_call_counts_from_when_it_was_due_and_late_starts_are_counted() -> None:
    """A server that stands still for a while would else look quick: nobody would have asked it meanwhile."""
    async def stand_still() -> None:
        await asyncio.sleep(0.05)
        time.sleep(0.3)  # nothing of this process goes on

    blocking = asyncio.create_task(stand_still())
    done = await Load(connections=1, seconds=0.5, rate=100.0).run(fake, target(NOBODY))
    await blocking
    assert done.figures["calls_per_second"] * 0.5 == pytest.approx(50, abs=10) and not done.errors
    assert 20 <= done.figures["late_starts"] <= 50
    assert done.figures["whole_p50"] > LATE and 0.2 < done.figures["whole_p99"]


async def test_at_a_fixed_rate_a_server_that_does_not_answer_is_asked_no_less() -> None:
    release, tally = asyncio.Event(), Tally()

    async def waits(due: float) -> Sample:
        await release.wait()
        return Sample(whole=1.0)

    load = Load(connections=1, seconds=1.0, rate=MOST_AT_ONCE + 5.0)
    running = asyncio.create_task(open_loop(load, waits, tally=tally))
    await until(lambda: tally.errors.get("too many calls under way") == Errors(5, f"{MOST_AT_ONCE} of them"))
    release.set()
    await running
    assert len(tally.wholes) == MOST_AT_ONCE


async def test_streams_that_are_held_open_are_past_their_first_text_and_end_afterwards(serve: Serve) -> None:
    gone: list[asyncio.Event] = []

    async def endless(connection: Connection) -> None:
        gone.append(connection.gone)
        await connection.begin()
        await connection.chunk(START + BLOCK + delta("first"))
        await connection.gone.wait()

    async with upstream(endless) as claude:
        async with held(CALLS["sse"], target(await serve(claude.url)), count=5):
            assert len(gone) == 5 and not any(one.is_set() for one in gone)
        await until(lambda: all(one.is_set() for one in gone))


async def test_streams_that_fail_cannot_be_held_open() -> None:
    with pytest.raises(CallFailed, match="3 of 3 streams not held open"):
        async with held(CALLS["sse"], target(NOBODY), count=3):
            pytest.fail("They are not open.")


async def test_a_call_that_is_given_up_leaves_no_socket_behind(serve: Serve) -> None:
    async with connected() as connections:
        async with aclosing(CALLS["websocket"](connections, target(await serve(), "Count to 99"))) as moments:
            assert await anext(moments) == FirstText()
        assert not connections.idle
