"""One request on its way: what only its edge sees is known to the layers too, and what is refused costs no request."""
import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest

from aioapp import errors
from aioapp.callers import Caller, Limits
from aioapp.generation import Admission, Batch, Call, Generate, Generation, Layer, call_for, compose
from aioapp.layers import Drain, budgeted, drained, metered, observed, timed
from aioapp.messages.events import Event
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.store.embedded.board.board import PrivateBoard
from aioapp.store.embedded.database import Database
from aioapp.store.embedded.limiter import Limiter
from aioapp.telemetry.observers import refunding
from aioapp.usage import DEFAULT_PRICES
from aioapp.web.operations.exchange import Exchange
from tests.generations import accounts_on

WEB = Caller(name="web", known=True, limits=Limits(requests_per_minute=9, concurrency=9))
START = Event("message_start", b'{"message": {"model": "m", "content": [], "usage": {"input_tokens": 3}}}')
OPEN = Event("content_block_start", b'{"index": 0, "content_block": {"type": "text", "text": ""}}')
DELTA = Event("content_block_delta", b'{"index": 0, "delta": {"type": "text_delta", "text": "x"}}')
NONSENSE = {
    "no such block": Event("content_block_delta", b'{"index": 7, "delta": {"type": "text_delta", "text": "x"}}'),
    "no text": Event("content_block_delta", b'{"index": 0, "delta": {"type": "text_delta", "text": 5}}'),
    "no delta": Event("message_delta", b'{"delta": 5}'),
    "not JSON": Event("content_block_stop", b"{"),
    "an end too early": Event("message_stop", b"{}"),
}
FORMS: dict[str, Callable[[Exchange], object]] = {
    "whole": lambda exchange: exchange.whole(), "pieces": lambda exchange: exchange.pieces()}


def asked(generate: Generate, *, counted: int = 0) -> Exchange:
    prompt = TextPrompt(messages=(Turn("user", "Hi"),), max_tokens=5, model="m")
    call = call_for(prompt, deadline=asyncio.get_running_loop().time() + 30, live=True,
                    admission=Admission(caller=WEB, counted=counted))
    return Exchange(call=call, warnings=(), extra={}, generate=generate)


async def done(form: object) -> None:
    if isinstance(form, AsyncGenerator):
        async for _ in form:
            pass
    else:
        assert asyncio.iscoroutine(form)
        await form


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_an_answer_that_makes_no_sense_has_failed_for_every_layer(nonsense: str, form: str) -> None:
    async def source(call: Call) -> AsyncGenerator[Batch, None]:
        yield [START, OPEN, DELTA]
        yield [NONSENSE[nonsense]]

    ended: list[Generation] = []
    layer = observed(began=lambda generation: None, ended=[ended.append])
    with pytest.raises(errors.UpstreamFailed):
        await done(FORMS[form](asked(layer(metered(source)))))
    assert [(one.outcome, one.error, one.refused) for one in ended] == [("failed", errors.UpstreamFailed.title, False)]


def refusals() -> Iterator[type[errors.AppError]]:
    """Every error of the server's that is the caller's to mend."""
    kinds = [errors.AppError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.status < 500:
            yield kind


PLACES = ["observed", "drained", "budgeted"]
"""Behind each of these layers a refusal can come, before `metered` says that Claude is asked."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", sorted(set(refusals()), key=str))
async def test_what_is_refused_before_claude_is_asked_costs_no_request(
        kind: type[errors.AppError], place: str) -> None:
    accounts = accounts_on(Database(Path("/nonexistent/aioapp.db"), create=False), limiter=Limiter(PrivateBoard))
    error = made(kind)

    def refuse(inner: Generate) -> Generate:
        async def generate(call: Call) -> AsyncGenerator[Batch, None]:
            raise error
            yield []

        return generate

    async def never(call: Call) -> AsyncGenerator[Batch, None]:
        raise AssertionError("Claude was asked")
        yield []

    layers: dict[str, Layer] = {
        "observed": observed(began=lambda generation: None, ended=[refunding(accounts.allowance)]),
        "drained": drained(Drain()), "budgeted": budgeted(allowance=accounts.allowance, prices=DEFAULT_PRICES),
        "refuse": refuse, "metered": metered, "timed": timed}
    behind = PLACES.index(place) + 1
    order = [*PLACES[:behind], "refuse", *PLACES[behind:], "metered", "timed"]
    generate = compose(never, *(layers[name] for name in order))
    counted = await accounts.allowance.admit(WEB)
    assert accounts.limiter.remaining(WEB).requests == 8
    with pytest.raises(kind):
        await asked(generate, counted=counted).whole()
    standing = accounts.limiter.remaining(WEB)
    assert (standing.requests, standing.slots) == (9, 9)


def made(kind: type[errors.AppError]) -> errors.AppError:
    match kind:
        case errors.ValidationFailed:
            return errors.ValidationFailed([])
        case errors.LimitReached:
            return errors.LimitReached("full", refused="concurrency", retry_after=1)
    return kind()
