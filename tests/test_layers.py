"""The pipeline's stages. Each passes events through untouched, and closing it closes what it wraps."""
import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from aioapp import errors
from aioapp.callers import NOBODY, Caller, Limits
from aioapp.generation import Admission, Batch, Call, Generate, Generation, Layer, call_for, compose
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.layers import Drain, budgeted, drained, metered, observed, timed
from aioapp.store.embedded.limiter import Limiter
from aioapp.store.embedded.board.board import PrivateBoard
from aioapp.messages.events import Event, Usage
from aioapp.store.embedded.database import Database
from aioapp.telemetry.observers import refunding
from aioapp.usage import DEFAULT_PRICES
from tests.generations import Accounts, Clock, accounts_on, ended, ledger_at, with_budget

START = Event("message_start", b'{"message": {"model": "m", "content": [], "usage": {"input_tokens": 3}}}')
DELTA = Event("content_block_delta", b'{"index": 0, "delta": {"type": "text_delta", "text": "x"}}')
END = Event("message_delta", b'{"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}')
BATCHES: list[Batch] = [[START], [DELTA, DELTA], [END, Event("message_stop", b"{}")]]

Make = Callable[[], Layer]
LAYERS: dict[str, Make] = {
    "observed": lambda: watched([]),
    "drained": lambda: drained(Drain()),
    "budgeted": lambda: budget(),
    "metered": lambda: metered,
    "timed": lambda: timed,
    "all": lambda: lambda inner: compose(inner, watched([]), drained(Drain()), budget(), metered, timed),
}


def watched(records: list[Generation]) -> Layer:
    """As `services` has it, with the layers that count what `observed` tells."""
    layer = observed(began=lambda generation: None, ended=[records.append])
    return lambda inner: layer(budget()(metered(inner)))


def budget(limiter: Limiter | None = None) -> Layer:
    accounts = accounts_on(Database(Path("/nonexistent/aioapp.db"), create=False), limiter=limiter)
    return budgeted(allowance=accounts.allowance, prices=DEFAULT_PRICES)


def refunded(accounts: Accounts) -> Layer:
    """As `services` has it, with the observer that gives requests back."""
    observe = observed(began=lambda generation: None, ended=[refunding(accounts.allowance)])
    layer = budgeted(allowance=accounts.allowance, prices=DEFAULT_PRICES)
    return lambda inner: observe(layer(metered(inner)))


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


def call(seconds: float = 30.0, *, caller: Caller = NOBODY, admitted: int = 0) -> Call:
    prompt = TextPrompt(messages=(Turn("user", "Hi"),), max_tokens=5, model="m")
    deadline = asyncio.get_running_loop().time() + seconds
    return call_for(prompt, deadline=deadline, admission=Admission(caller=caller, counted=admitted))


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


async def test_drained_serves_on_while_the_end_is_only_announced() -> None:
    drain = Drain()
    announcing = asyncio.create_task(drain.announce(60.0))
    await asyncio.sleep(0)
    assert drain.begun and not announcing.done()
    assert await all_of(drained(drain)(Source().generate), call())
    await drain.announce(60.0)  # once: whoever announces it again does not wait
    announcing.cancel()


async def test_drained_waits_for_a_call_that_came_after_another_had_ended_while_the_end_was_announced() -> None:
    drain = Drain()
    await drain.announce(0.0)
    assert await all_of(drained(drain)(Source().generate), call())
    generation = drained(drain)(Source().generate)(call())
    await anext(generation)
    waiting = asyncio.create_task(drain.wait(30.0))
    await asyncio.sleep(0)
    assert not waiting.done() and not drain.expired
    await generation.aclose()
    async with asyncio.timeout(1):
        await waiting


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


async def test_drained_waits_for_each_call_of_a_task_that_runs_several() -> None:
    drain = Drain()
    first, second = drained(drain)(Source().generate)(call()), drained(drain)(Source().generate)(call())
    await anext(first)
    assert [batch async for batch in second]
    assert drain.running == 1
    waiting = asyncio.create_task(drain.wait(30.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    await first.aclose()
    async with asyncio.timeout(1):
        await waiting
    assert drain.running == 0


async def test_drained_stops_a_call_that_outlasts_the_wait_and_says_why() -> None:
    source, drain = Source(waits=True), Drain()
    task = asyncio.create_task(all_of(drained(drain)(source.generate), call()))
    await asyncio.sleep(0)
    await drain.wait(0.01)
    with pytest.raises(errors.ShuttingDown):
        await task
    assert source.closed


async def test_observed_records_a_call_that_completed() -> None:
    records: list[Generation] = []
    await all_of(watched(records)(Source().generate), call())
    [record] = records
    assert (record.outcome, record.error) == ("completed", None)
    assert (record.model, record.answer.stop_reason) == ("m", "end_turn")
    assert record.usage == Usage(input_tokens=3, output_tokens=4)
    assert record.nanodollars == DEFAULT_PRICES.cost("m", record.usage) > 0
    assert record.first is not None and 0 <= record.first <= record.duration


async def test_budgeted_charges_a_stream_for_all_that_its_begin_and_its_end_say_together() -> None:
    split = {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000}
    begun = {"input_tokens": 4, "output_tokens": 1, "cache_creation_input_tokens": 3_000,
             "cache_read_input_tokens": 500, "cache_creation": split, "speed": "fast"}
    ended = {"input_tokens": None, "output_tokens": 250, "server_tool_use": {"web_search_requests": 1}}

    async def fast(call: Call) -> AsyncGenerator[Batch, None]:
        start = {"message": {"model": "claude-opus-5-5", "content": [], "usage": begun}}
        yield [Event("message_start", json.dumps(start).encode())]
        yield [Event("message_delta", json.dumps({"delta": {}, "usage": ended}).encode())]

    records: list[Generation] = []
    await all_of(watched(records)(fast), call())
    # nanodollars a token:  input   output         5 minutes       1 hour          read        fast
    assert (4 * 4_000 + 250 * 20_000 + 1_000 * 5_000 + 2_000 * 8_000 + 500 * 200) * 2 == 52_232_000
    assert [record.nanodollars for record in records] == [52_232_000 + 10_000_000]


async def test_budgeted_charges_what_is_guessed_at_the_prices_of_the_answer_that_was_cut() -> None:
    begun = {"input_tokens": 10, "output_tokens": 1, "iterations": [
        {"type": "advisor_message", "model": "claude-fable-5-2", "input_tokens": 5, "output_tokens": 5}]}

    async def cut(call: Call) -> AsyncGenerator[Batch, None]:
        start = {"message": {"model": "claude-sonnet-5-5", "content": [], "usage": begun}}
        yield [Event("message_start", json.dumps(start).encode()), *3 * [DELTA]]
        raise errors.UpstreamFailed("cut")

    records: list[Generation] = []
    with pytest.raises(errors.UpstreamFailed):
        await all_of(watched(records)(cut), call())
    [record] = records
    assert record.usage.output_tokens == 2  # the one that Claude counted, and one for three deltas of a byte
    assert record.nanodollars == 10 * 2_000 + 2 * 10_000 + 5 * 8_000 + 5 * 40_000


@pytest.mark.parametrize(("error", "named"), [
    (errors.Overloaded("secret detail"), "Claude is overloaded"), (RuntimeError("secret detail"), "RuntimeError")])
async def test_observed_records_a_call_that_failed_by_the_name_of_its_error(error: Exception, named: str) -> None:
    records: list[Generation] = []
    with pytest.raises(type(error)):
        await all_of(watched(records)(Source(error=error).generate), call())
    assert [(record.outcome, record.error) for record in records] == [("failed", named)]


async def test_the_layers_look_at_nonsense_of_claudes_and_never_judge_it() -> None:
    async def nonsense(call: Call) -> AsyncGenerator[Batch, None]:
        yield [START, Event("message_delta", b"5")]

    records: list[Generation] = []
    assert await all_of(watched(records)(nonsense), call()) == [[START, Event("message_delta", b"5")]]
    assert [(record.outcome, record.usage) for record in records] == [("completed", Usage(3))]


async def test_observed_records_a_call_that_was_left_with_what_it_had_used() -> None:
    records: list[Generation] = []
    generation = watched(records)(Source().generate)(call())
    await anext(generation)
    await generation.aclose()
    assert [(record.outcome, record.usage.input_tokens) for record in records] == [("cancelled", 3)]


async def test_observed_shows_the_generation_that_the_edge_has_made() -> None:
    records: list[Generation] = []
    asked = call()
    await all_of(watched(records)(Source().generate), asked)
    assert asked.generation is records[0]


async def test_observed_sees_what_the_caller_gets_where_claude_is_not_asked() -> None:
    records: list[Generation] = []
    layer = observed(began=lambda generation: None, ended=[records.append])
    await all_of(layer(Source().generate), call())
    [record] = records
    assert (record.model, record.answer.stop_reason, record.usage) == ("m", "end_turn", Usage(3, 4))
    assert (record.meter.asked, record.meter.usage, record.nanodollars) == (False, Usage(), 0)


async def test_metered_counts_what_claude_is_waited_for_but_not_what_its_caller_takes() -> None:
    async def slow(call: Call) -> AsyncGenerator[Batch, None]:
        await asyncio.sleep(0.02)
        yield [START]

    asked = call()
    async with aclosing(metered(slow)(asked)) as batches:
        await anext(batches)
        await asyncio.sleep(0.1)
        assert await anext(batches, None) is None
    assert 0.02 <= asked.generation.meter.waited < 0.1


@pytest.mark.parametrize("kind", ["left", "stopped", "late"])
async def test_metered_guesses_what_a_call_took_that_was_stopped_before_claude_counted(kind: str) -> None:
    asked = call(seconds=0.02 if kind == "late" else 30.0)

    async def silent(call: Call) -> AsyncGenerator[Batch, None]:
        yield []
        await asyncio.Event().wait()

    generation = metered(timed(silent))(asked)
    await anext(generation)
    if kind == "left":
        await generation.aclose()
    else:
        waiting = asyncio.create_task(anext(generation))
        await asyncio.sleep(0)
        if kind == "stopped":
            waiting.cancel()
        with pytest.raises((asyncio.CancelledError, errors.UpstreamTimeout)):
            await waiting
    usage = asked.generation.meter.usage
    assert (usage.input_tokens, 1 <= usage.output_tokens <= 5) == (1, True)  # some of an answer in one piece


async def test_metered_guesses_the_size_of_any_text_that_a_program_of_ones_own_may_make() -> None:
    """What is raised while an answer is cut would hide why it was."""
    asked = call()
    asked = replace(asked, prompt=TextPrompt(messages=(Turn("user", "\ud800"),), max_tokens=5, model="m"))

    async def silent(call: Call) -> AsyncGenerator[Batch, None]:
        yield []

    generation = metered(silent)(asked)
    await anext(generation)
    await generation.aclose()
    assert asked.generation.meter.usage.input_tokens == 1


async def test_metered_guesses_no_output_of_a_stream_that_had_not_begun() -> None:
    async def silent(call: Call) -> AsyncGenerator[Batch, None]:
        yield []
        await asyncio.Event().wait()

    asked = replace(call(), live=True)
    generation = metered(silent)(asked)
    await anext(generation)
    await generation.aclose()
    assert asked.generation.meter.usage == Usage(input_tokens=1)


async def test_a_record_tells_whether_claude_was_asked_at_all() -> None:
    records: list[Generation] = []
    drain = Drain()
    await drain.wait(0.0)
    observe = observed(began=lambda generation: None, ended=[records.append])
    for inner in (drained(drain)(metered(Source().generate)), metered(Source().generate)):
        try:
            await all_of(observe(inner), call())
        except errors.ShuttingDown:
            continue
    assert [record.meter.asked for record in records] == [False, True]


async def test_metered_guesses_text_that_came_after_the_last_count_up_to_what_was_asked_for() -> None:
    def delta(text: str) -> Event:
        said = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}' % text
        return Event("content_block_delta", said.encode())

    async def cut(call: Call) -> AsyncGenerator[Batch, None]:
        yield [START]
        yield [delta("x" * 7)]
        if long:
            yield [delta("x" * 1000)]
        raise errors.UpstreamFailed("cut")

    for long, guessed in ((False, 3), (True, 5)):
        asked = call()
        with pytest.raises(errors.UpstreamFailed):
            await all_of(metered(cut), asked)
        assert asked.generation.meter.usage == Usage(input_tokens=3, output_tokens=guessed)


async def test_metered_counts_nothing_for_a_call_that_claude_refused() -> None:
    async def refused(call: Call) -> AsyncGenerator[Batch, None]:
        raise errors.Overloaded()
        yield []

    asked = call()
    with pytest.raises(errors.Overloaded):
        await all_of(metered(refused), asked)
    assert asked.generation.meter.usage == Usage()


LIMITED = Caller(name="web", known=True, limits=Limits(requests_per_minute=9, tokens_per_minute=500, concurrency=1))


@pytest.mark.parametrize("ending", ["completed", "failed", "left", "cancelled"])
async def test_budgeted_settles_to_what_was_used_however_a_call_ends(ending: str) -> None:
    limiter = Limiter(PrivateBoard)
    source = Source(error=errors.Overloaded() if ending == "failed" else None, waits=ending == "cancelled")
    generation = budget(limiter)(metered(source.generate))(call(caller=LIMITED))
    await anext(generation)
    during = limiter.remaining(LIMITED)
    assert (during.slots, during.tokens) == (0, 500 - 5 - len("Hi") - during_overhead())
    if ending == "left":
        await generation.aclose()
    else:
        rest = asyncio.create_task(drive(generation))
        await asyncio.sleep(0)
        if ending == "cancelled":
            rest.cancel()
        await asyncio.wait({rest})
        assert (rest.cancelled(), rest.done()) == (ending == "cancelled", True)
        assert rest.cancelled() or isinstance(rest.exception(), errors.Overloaded) == (ending == "failed")
    after, used = limiter.remaining(LIMITED), 3 if ending == "left" else 7
    assert (after.slots, after.tokens) == (1, 500 - used)


def during_overhead() -> int:
    """Tokens that are reserved beyond the text: there are a few around each turn, and around all."""
    empty = TextPrompt(messages=(Turn("user", ""),), max_tokens=0, model="m")
    return empty.most_input


async def drive(generation: AsyncGenerator[Batch, None]) -> None:
    async for _ in generation:
        pass


async def test_budgeted_gives_the_request_back_that_a_limit_refuses() -> None:
    limiter, source = Limiter(PrivateBoard), Source()
    layer = refunded(accounts_on(Database(Path("/nonexistent/aioapp.db"), create=False), limiter=limiter))
    running = layer(source.generate)(call(caller=LIMITED, admitted=limiter.admit(LIMITED)))
    await anext(running)
    with pytest.raises(errors.LimitReached) as refused:
        await all_of(layer(source.generate), call(caller=LIMITED, admitted=limiter.admit(LIMITED)))
    assert (refused.value.refused, source.calls) == ("concurrency", 1)
    assert limiter.remaining(LIMITED).requests == 8
    await running.aclose()


async def test_budgeted_takes_no_slot_and_no_request_for_what_a_budget_refuses(tmp_path: Path) -> None:
    limiter, source, clock = Limiter(PrivateBoard), Source(), Clock()
    client = replace(with_budget(10**9), limits=LIMITED.limits)
    async with ledger_at(tmp_path / "db", clock=clock, limiter=limiter) as (ledger, _):
        ledger.add(ended(client, 10**9))
        layer = refunded(ledger)
        with pytest.raises(errors.BudgetSpent, match="2026-11-24"):
            await all_of(layer(source.generate), call(caller=client, admitted=limiter.admit(client)))
    standing = limiter.remaining(client)
    assert (source.calls, standing.requests, standing.slots, standing.tokens) == (0, 9, 1, 500)


async def test_budgeted_lets_go_of_the_money_that_it_held_when_a_limit_refuses(tmp_path: Path) -> None:
    limiter, source = Limiter(PrivateBoard), Source()
    client = replace(with_budget(10**9), limits=LIMITED.limits)
    async with ledger_at(tmp_path / "db", clock=Clock(), limiter=limiter) as (ledger, _):
        layer = refunded(ledger)
        running = layer(source.generate)(call(caller=client))
        await anext(running)
        for _ in range(1000):
            with pytest.raises(errors.LimitReached):
                await all_of(layer(source.generate), call(caller=client))
        await running.aclose()


async def test_what_broken_tries_are_guessed_to_have_taken_is_never_more_than_was_set_aside() -> None:
    async def breaking(call: Call) -> AsyncGenerator[Batch, None]:
        for _ in range(1000):
            call.generation.meter.ask()
            call.generation.meter.lose(call.prompt, live=call.live)
        raise errors.UpstreamFailed("The connection to Claude broke.")
        yield

    asked = call()
    with pytest.raises(errors.UpstreamFailed):
        await all_of(budget()(metered(breaking)), asked)
    most = DEFAULT_PRICES.most("m", input=asked.prompt.most_input, output=asked.prompt.max_tokens)
    assert asked.generation.meter.usage.total >= 1000
    assert asked.generation.nanodollars == most
