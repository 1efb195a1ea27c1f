"""The official SDK as a witness: on the same bytes it must read what we read, and fail where we fail."""
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import anthropic
import pytest

from aioapp import errors
from aioapp.app import simulated
from aioapp.credentials import fixed
from aioapp.generation import call_for
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.messages.events import Event, Message
from aioapp.messages.fold import fold
from aioapp.upstream.claude import Claude
from aioapp.upstream.retries import Retries
from aioapp.upstream.session import open_transport
from tests.upstreams import BLOCK, START, Connection, Script, delta, frame, upstream, whole

PROMPTS = [
    {"model": "claude-sonnet-5-5", "prompt": "Tell me of tides"},
    {"model": "claude-fable-5-2", "prompt": "Think of tides first"},
    {"model": "claude-haiku-4-5", "prompt": "Count to 30", "max_tokens": 20},
    {"model": "claude-opus-5-5", "prompt": "Count to 30", "stop_sequences": ["17"]},
    {"model": "simulate-refusal", "prompt": "Tell me of tides"},
]


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Claude]:
    async with open_transport(url, connections=10, timeout=5) as transport:
        yield Claude(transport=transport, credentials=fixed("k", "test"),
                     retries=Retries(most=0, sleep=asyncio.sleep), idle_timeout=5)


def theirs(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0)


async def told(claude: Claude, *, live: bool, prompt: str = "Hi", **more: Any) -> Message:
    asked = TextPrompt(messages=(Turn("user", prompt),), **{"max_tokens": 400, "model": "claude-sonnet-5-5", **more})
    call = call_for(asked, live=live, deadline=asyncio.get_running_loop().time() + 30)
    events: list[Event] = []
    async with aclosing(claude.generate(call)) as batches:
        async for batch in batches:
            events += batch
    return fold(events)


def arguments(claude_body: dict[str, Any]) -> dict[str, Any]:
    """What we sent, as the SDK's arguments."""
    return {name: value for name, value in claude_body.items() if name != "stream"}


def compared(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name not in ("id", "_request_id")}


@pytest.mark.parametrize("asked", PROMPTS, ids=lambda asked: str(asked["model"]))
async def test_our_fold_and_the_sdks_agree_on_what_the_simulator_says(asked: dict[str, Any]) -> None:
    stops = tuple(asked.get("stop_sequences", ()))
    prompt = TextPrompt(messages=(Turn("user", asked["prompt"]),), max_tokens=asked.get("max_tokens", 400),
                        model=asked["model"], stop_sequences=stops)
    body = arguments(json.loads(prompt.body(live=False)))
    async with simulated(0.0) as url, ours(url) as claude, theirs(url) as sdk:
        created = await sdk.messages.create(**body)
        async with sdk.messages.stream(**body) as stream:
            streamed = await stream.get_final_message()
        folded = await told(claude, live=True, **{**asked, "stop_sequences": stops})
        in_one_piece = await told(claude, live=False, **{**asked, "stop_sequences": stops})
    assert compared(dict(folded.body)) == compared(streamed.to_dict())
    assert compared(dict(in_one_piece.body)) == compared(created.to_dict())
    assert folded.text == in_one_piece.text


async def test_our_fold_and_the_sdks_agree_on_blocks_that_the_simulator_never_sends() -> None:
    def block(index: int, kind: str, **fields: Any) -> bytes:
        return frame("content_block_start", index=index, content_block={"type": kind, **fields})

    def change(index: int, kind: str, **fields: Any) -> bytes:
        return frame("content_block_delta", index=index, delta={"type": kind, **fields})

    def stop(index: int) -> bytes:
        return frame("content_block_stop", index=index)

    async def script(connection: Connection) -> None:
        await connection.stream(
            START, block(0, "thinking", thinking="", signature=""), change(0, "thinking_delta", thinking="hm"),
            change(0, "signature_delta", signature="sig"), stop(0), block(1, "redacted_thinking", data="x"), stop(1),
            block(2, "text", text=""), change(2, "text_delta", text="é😀"), change(2, "text_delta", text="\n"), stop(2),
            block(3, "tool_use", id="t", name="n", input={}), change(3, "input_json_delta", partial_json=""),
            change(3, "input_json_delta", partial_json='{"a": [1, "'),
            change(3, "input_json_delta", partial_json='b"]}'), stop(3),
            frame("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None},
                  usage={"output_tokens": 9}),
            frame("message_stop"))

    async with upstream(script) as server, ours(server.url) as claude, theirs(server.url) as sdk:
        async with sdk.messages.stream(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as stream:
            expected = (await stream.get_final_message()).to_dict()
        assert compared(dict((await told(claude, live=True)).body)) == compared(expected)


def refusing(status: int, kind: str) -> Script:
    async def script(connection: Connection) -> None:
        body = {"type": "error", "error": {"type": kind, "message": "said Claude"}, "request_id": "req_1"}
        await connection.answer(status, json.dumps(body).encode())

    return script


ALIKE: list[tuple[int, str, type[Exception], type[errors.AppError]]] = [
    (400, "invalid_request_error", anthropic.BadRequestError, errors.BadRequest),
    (401, "authentication_error", anthropic.AuthenticationError, errors.CredentialsRefused),
    (403, "permission_error", anthropic.PermissionDeniedError, errors.CredentialsRefused),
    (404, "not_found_error", anthropic.NotFoundError, errors.BadRequest),
    (409, "conflict_error", anthropic.ConflictError, errors.UpstreamFailed),
    (413, "request_too_large", anthropic.RequestTooLargeError, errors.RequestTooLarge),
    (429, "rate_limit_error", anthropic.RateLimitError, errors.RateLimited),
    (500, "api_error", anthropic.InternalServerError, errors.UpstreamFailed),
    (503, "api_error", anthropic.ServiceUnavailableError, errors.Overloaded),
    (504, "timeout_error", anthropic.DeadlineExceededError, errors.UpstreamFailed),
    (529, "overloaded_error", anthropic.OverloadedError, errors.Overloaded),
]


@pytest.mark.parametrize(("status", "kind", "theirs_is", "ours_is"), ALIKE)
async def test_where_the_sdk_raises_we_raise_and_the_kinds_map(
        status: int, kind: str, theirs_is: type[Exception], ours_is: type[errors.AppError]) -> None:
    async with upstream(refusing(status, kind)) as server, ours(server.url) as claude, theirs(server.url) as sdk:
        with pytest.raises(theirs_is):
            await sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(errors.AppError) as failed:
            await told(claude, live=False)
    assert type(failed.value) is ours_is


async def test_a_stream_cut_short_fails_here_even_where_the_sdk_says_nothing() -> None:
    async def script(connection: Connection) -> None:
        await connection.stream(START, BLOCK, delta("some"))

    async with upstream(script) as server, ours(server.url) as claude, theirs(server.url) as sdk:
        stream = await sdk.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}], stream=True)
        names = [event.type async for event in stream]
        assert names[-1] == "content_block_delta"
        with pytest.raises(errors.UpstreamFailed):
            await told(claude, live=True)


async def test_the_sdk_takes_our_scripted_upstream_for_claude() -> None:
    """What the other tests' upstream sends is what the SDK understands, or they would prove nothing."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(upstream(whole))
        sdk = await stack.enter_async_context(theirs(server.url))
        async with sdk.messages.stream(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as stream:
            assert await stream.get_final_text() == "Hello, wörld"
