"""The pipeline's stages. Each passes events through untouched, and closing it closes what it wraps."""
import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from aioapp import errors
from aioapp.events import Event, Usage
from aioapp.generation import Batch, Call, Generate, Layer, Prompt, Turn, compose
from aioapp.layers import Drain, Record, drained, observed, timed

START = Event("message_start", b'{"message": {"model": "m", "content": [], "usage": {"input_tokens": 3}}}')
DELTA = Event("content_block_delta", b'{"index": 0, "delta": {"type": "text_delta", "text": "x"}}')
END = Event("message_delta", b'{"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}')
BATCHES: list[Batch] = [[START], [DELTA, DELTA], [END, Event("message_stop", b"{}")]]

Make = Callable[[], Layer]
LAYERS: dict[str, Make] = {
    "observed": lambda: observed(lambda record: None),
    "drained": lambda: drained(Drain()),
    "timed": lambda: timed,
    "all": lambda: lambda inner: compose(inner, observed(lambda record: None), drained(Drain()), timed),
}


class Source:
    """A `Generate` that knows whether it was closed, and that may fail or wait after its batches."""

    def __init__(self, *, error: Exception | None = None, waits: bool = False) -> None:
        self.error, self.waits, self.closed, self.calls = error, waits, False, 0

    async def generate(self, call: Call) -> AsyncGenerator[Batch, None]:
        self.calls += 1
        try:
            for batch in BATCHES:
                yield batch
            if self.waits:
                await asyncio.Event().wait()
            if self.error:
                raise self.error
        finally:
            self.closed = True


def call(seconds: float = 30.0) -> Call:
    prompt = Prompt(messages=(Turn("user", "Hi"),), max_tokens=5, model="m")
    return Call(prompt=prompt, deadline=asyncio.get_running_loop().time() + seconds)


async def all_of(generate: Generate, asked: Call) -> list[Batch]:
    async with aclosing(generate(asked)) as batches:
        return [batch async for batch in batches]


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Layer:
    return LAYERS[request.param]()


async def test_a_layer_passes_every_batch_through_untouched(layer: Layer) -> None:
    source = Source()
    assert await all_of(layer(source.generate), call()) == BATCHES
    assert source.closed


async def test_trap_2_closing_a_layer_closes_what_it_wraps(layer: Layer) -> None:
    source = Source()
    generation = layer(source.generate)(call())
    assert await anext(generation) == [START]
    await generation.aclose()
    assert source.closed


async def test_a_layer_lets_a_failure_through(layer: Layer) -> None:
    source = Source(error=errors.Overloaded("busy", retry_after=3))
    with pytest.raises(errors.Overloaded) as failed:
        await all_of(layer(source.generate), call())
    assert failed.value is source.error


async def test_a_layer_lets_a_cancellation_through_and_closes_what_it_wraps(layer: Layer) -> None:
    source = Source(waits=True)
    task = asyncio.create_task(all_of(layer(source.generate), call()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed


async def test_trap_3_a_layer_holds_no_timeout_while_its_caller_works(layer: Layer) -> None:
    """A timeout that is held across a yield would cancel the caller's own work (PEP 789)."""
    generation = layer(Source().generate)(call(seconds=0.05))
    async with aclosing(generation):
        await anext(generation)
        await asyncio.sleep(0.1)


def test_the_first_layer_is_the_outermost() -> None:
    def named(name: str) -> Layer:
        def layer(inner: Generate) -> Generate:
            order.append(name)
            return inner

        return layer

    order: list[str] = []
    compose(Source().generate, named("outer"), named("middle"), named("inner"))
    assert order == ["inner", "middle", "outer"]


async def test_timed_ends_a_call_at_its_deadline() -> None:
    source = Source(waits=True)
    with pytest.raises(errors.UpstreamTimeout):
        await all_of(timed(source.generate), call(seconds=0.02))
    assert source.closed


async def test_timed_ends_a_call_whose_deadline_has_passed_while_its_caller_worked() -> None:
    source = Source()
    async with aclosing(timed(source.generate)(call(seconds=0.02))) as generation:
        await anext(generation)
        await asyncio.sleep(0.05)
        with pytest.raises(errors.UpstreamTimeout):
            await anext(generation)
    assert source.closed


async def test_timed_gives_way_to_who_stops_the_call_at_the_very_deadline() -> None:
    source = Source(waits=True)
    asked = call(seconds=0.02)
    task = asyncio.create_task(all_of(timed(source.generate), asked))
    # Before the alarm, in the same turn of the loop: it rings for a task that is cancelled already.
    asyncio.get_running_loop().call_at(asked.deadline, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_timed_leaves_an_error_of_the_same_kind_from_below_alone() -> None:
    source = Source(error=errors.UpstreamTimeout("from below"))
    with pytest.raises(errors.UpstreamTimeout) as failed:
        await all_of(timed(source.generate), call())
    assert failed.value is source.error


async def test_drained_refuses_a_call_once_the_end_has_begun() -> None:
    source, drain = Source(), Drain()
    await drain.wait(1.0)
    with pytest.raises(errors.ShuttingDown):
        await all_of(drained(drain)(source.generate), call())
    assert source.calls == 0


async def test_drained_waits_for_a_running_call_and_no_longer() -> None:
    drain = Drain()
    generation = drained(drain)(Source().generate)(call())
    await anext(generation)
    waiting = asyncio.create_task(drain.wait(30.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    await generation.aclose()
    async with asyncio.timeout(1):
        await waiting


async def test_drained_stops_a_call_that_outlasts_the_wait_and_says_why() -> None:
    source, drain = Source(waits=True), Drain()
    task = asyncio.create_task(all_of(drained(drain)(source.generate), call()))
    await asyncio.sleep(0)
    await drain.wait(0.01)
    with pytest.raises(errors.ShuttingDown):
        await task
    assert source.closed


async def test_observed_records_a_call_that_completed() -> None:
    records: list[Record] = []
    await all_of(observed(records.append)(Source().generate), call())
    [record] = records
    assert (record.outcome, record.error, record.model, record.stop_reason) == ("completed", None, "m", "end_turn")
    assert record.usage == Usage(input_tokens=3, output_tokens=4)
    assert record.first is not None and 0 <= record.first <= record.duration


@pytest.mark.parametrize(("error", "named"), [
    (errors.Overloaded("secret detail"), "Claude is overloaded"), (RuntimeError("secret detail"), "RuntimeError")])
async def test_observed_records_a_call_that_failed_by_the_name_of_its_error(error: Exception, named: str) -> None:
    records: list[Record] = []
    with pytest.raises(type(error)):
        await all_of(observed(records.append)(Source(error=error).generate), call())
    assert [(record.outcome, record.error) for record in records] == [("failed", named)]


async def test_observed_lets_no_nonsense_of_claudes_hide_how_a_call_ended() -> None:
    async def nonsense(call: Call) -> AsyncGenerator[Batch, None]:
        yield [START, Event("message_delta", b'{"delta": {"usage": 5}}')]

    records: list[Record] = []
    with pytest.raises(errors.UpstreamFailed):
        await all_of(observed(records.append)(nonsense), call())
    assert [(record.outcome, record.usage) for record in records] == [("failed", Usage())]


async def test_observed_records_a_call_that_was_left_with_what_it_had_used() -> None:
    records: list[Record] = []
    generation = observed(records.append)(Source().generate)(call())
    await anext(generation)
    await generation.aclose()
    assert [(record.outcome, record.usage.input_tokens) for record in records] == [("cancelled", 3)]
