"""Anthropic's own SDK, unchanged, with this server as its base URL and one of our keys."""
import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_async_tool, beta_tool
from anthropic.types import Message

from tests.conftest import Serve
from tests.keyed import make_key
from tests.simulated import text_in
from tests.upstreams import Connection, Script, delta, frame, upstream, whole, BLOCK, START

SONNET = "claude-sonnet-5-5"
COUNT: dict[str, Any] = {
    "model": SONNET, "max_tokens": 400, "messages": [{"role": "user", "content": "Please count to 5."}]}
WEATHER: dict[str, Any] = {
    "name": "weather", "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
ASKED = 'How is it there? [use weather {"city": "Köln"}]'

Theirs = Callable[..., AsyncAnthropic]


@pytest.fixture
def sdk(stack: AsyncExitStack) -> Theirs:
    """Makes the SDK's client of a server. It tries once, so that what it raises is what was said."""
    def sdk(url: str, key: str | None = None, **more: Any) -> AsyncAnthropic:
        client = AsyncAnthropic(base_url=url, api_key=key, **{"max_retries": 0, **more})
        stack.push_async_callback(client.close)
        return client

    return sdk


class Keyed(Protocol):
    """The SDK's client of a new server, with a new key of these terms. `upstream` as `Serve` has it."""

    def __call__(self, upstream: str | None = None, *, tries: int = 1, **terms: Any) -> Awaitable[AsyncAnthropic]: ...


@pytest.fixture
def keyed(serve: Serve, sdk: Theirs) -> Keyed:
    async def keyed(upstream: str | None = None, *, tries: int = 1, **terms: Any) -> AsyncAnthropic:
        key = make_key("sdk", **terms)
        return sdk(await serve(upstream), key, max_retries=tries - 1)

    return keyed


@pytest.fixture
async def claude(keyed: Keyed) -> AsyncAnthropic:
    return await keyed()


async def test_a_message_is_created_and_streamed_to_the_same_end(claude: AsyncAnthropic) -> None:
    created = await claude.messages.create(**COUNT)
    async with claude.messages.stream(**COUNT) as stream:
        texts = [text async for text in stream.text_stream]
        message = await stream.get_final_message()
    assert "".join(texts) == text_in(message) == text_in(created) == "1, 2, 3, 4, 5"
    assert (message.stop_reason, message.usage) == (created.stop_reason, created.usage)


async def test_the_sync_sdk_creates_streams_and_counts(serve: Serve) -> None:
    key = make_key("sdk")
    url = await serve()

    def talk() -> tuple[Message, Message, int]:
        with Anthropic(base_url=url, api_key=key, max_retries=0) as claude:
            with claude.messages.stream(**COUNT) as stream:
                assert "".join(stream.text_stream) == "1, 2, 3, 4, 5"
                streamed = stream.get_final_message()
            counted = claude.messages.count_tokens(model=SONNET, messages=COUNT["messages"])
            return claude.messages.create(**COUNT), streamed, counted.input_tokens

    created, streamed, tokens = await asyncio.to_thread(talk)
    assert text_in(created) == text_in(streamed) == "1, 2, 3, 4, 5"
    assert created.usage.input_tokens == streamed.usage.input_tokens == tokens > 0


async def test_a_tool_makes_its_round_trip_in_a_stream(claude: AsyncAnthropic) -> None:
    messages: list[Any] = [{"role": "user", "content": ASKED}]
    more: dict[str, Any] = {"model": SONNET, "max_tokens": 400, "tools": [WEATHER]}
    async with claude.messages.stream(messages=messages, **more) as stream:
        first = await stream.get_final_message()
    [call] = [block for block in first.content if block.type == "tool_use"]
    assert (first.stop_reason, call.name, call.input) == ("tool_use", "weather", {"city": "Köln"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "11 °C and rain"}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = await claude.messages.create(messages=messages, **more)
    assert last.stop_reason == "end_turn" and "11 °C and rain" in text_in(last)


async def test_the_sdks_own_loop_runs_a_tool_and_ends_with_what_it_gave(claude: AsyncAnthropic) -> None:
    cities = []

    @beta_async_tool
    async def weather(city: str) -> str:
        """The weather in a city."""
        cities.append(city)
        return "sun"

    runner = claude.beta.messages.tool_runner(
        model=SONNET, max_tokens=400, tools=[weather], messages=[{"role": "user", "content": ASKED}])
    last = await runner.until_done()
    assert cities == ["Köln"] and "sun" in str(last.to_dict()["content"])


async def test_the_sync_sdks_loop_streams_and_runs_a_tool_too(serve: Serve) -> None:
    key = make_key("sdk")
    url = await serve()

    @beta_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"sun in {city}"

    def talk() -> list[str]:
        with Anthropic(base_url=url, api_key=key, max_retries=0) as claude:
            runner = claude.beta.messages.tool_runner(
                model=SONNET, max_tokens=400, tools=[weather], stream=True,
                messages=[{"role": "user", "content": ASKED}])
            return ["".join(stream.text_stream) for stream in runner]

    turns = await asyncio.to_thread(talk)
    assert len(turns) == 2 and "sun in Köln" in turns[-1]


async def test_models_are_paged_through_and_got_as_far_as_the_key_may_use_them(serve: Serve, sdk: Theirs) -> None:
    keys = make_key("all"), make_key("some", models=("claude-opus-*",))
    url = await serve()
    all_of, some = (sdk(url, key) for key in keys)
    every = [model.id async for model in all_of.models.list(limit=5)]
    opus = [model.id async for model in some.models.list(limit=2)]
    assert len(every) > 5 and opus == [name for name in every if name.startswith("claude-opus-")]
    last = await some.models.list(limit=2, before_id=opus[-1])
    assert [model.id for model in last.data] == opus[-3:-1] and last.has_more
    assert (await some.models.retrieve(opus[0])).display_name.startswith("Claude Opus")
    with pytest.raises(anthropic.PermissionDeniedError, match="may not use the model claude-haiku-5-5"):
        await some.models.retrieve("claude-haiku-5-5")


async def test_a_key_is_taken_from_either_header(serve: Serve, sdk: Theirs) -> None:
    key = make_key("sdk")
    url = await serve()
    clients = {
        "api_key": sdk(url, key),
        "auth_token": sdk(url, auth_token=key),
        "x-api-key": sdk(url, default_headers={"x-api-key": key}),
        "an empty x-api-key beside a good Bearer": sdk(url, key, default_headers={"x-api-key": ""}),
        "both": sdk(url, key, default_headers={"x-api-key": key}),
    }
    for client in clients.values():
        assert text_in(await client.messages.create(**COUNT)) == "1, 2, 3, 4, 5"


async def told(client: AsyncAnthropic, **more: Any) -> anthropic.APIStatusError:
    """What the SDK raises, which is the same for a stream."""
    raised: list[anthropic.APIStatusError] = []
    for stream in ({}, {"stream": True}):
        with pytest.raises(anthropic.APIStatusError) as failed:
            await client.messages.create(**{**COUNT, **stream, **more})
        raised.append(failed.value)
    one, other = raised
    assert (type(one), one.type, one.message.split("request_id")[0]) == (
        type(other), other.type, other.message.split("request_id")[0])
    return one


def said(error: anthropic.APIStatusError) -> str:
    assert isinstance(error.body, dict)
    return str(error.body["error"]["message"])


async def test_no_key_and_a_wrong_one_are_authentication_errors_that_are_not_tried_again(
        serve: Serve, sdk: Theirs) -> None:
    make_key("sdk")
    url = await serve()
    none = await told(sdk(url, default_headers={"Authorization": anthropic.omit}))
    wrong = await told(sdk(url, "aio_0123456789abcdef_" + "x" * 43, max_retries=2))
    for error in (none, wrong):
        assert type(error) is anthropic.AuthenticationError and error.type == "authentication_error"
        assert error.response.headers["x-should-retry"] == "false" and "key" in said(error)


async def test_a_model_that_is_not_allowed_is_a_permission_error(keyed: Keyed) -> None:
    error = await told(await keyed(models=("claude-haiku-*",)))
    assert type(error) is anthropic.PermissionDeniedError and error.type == "permission_error"
    assert said(error) == f"Your key may not use the model {SONNET}. It may use: claude-haiku-*."


async def test_a_spent_budget_is_payment_required_and_names_its_day(keyed: Keyed) -> None:
    error = await told(await keyed(usd=1, spent=1, tries=3))
    assert type(error) is anthropic.PaymentRequiredError and error.type == "billing_error"
    assert "budget" in said(error) and error.response.headers["x-should-retry"] == "false"


async def test_a_reached_limit_is_a_rate_limit_error_with_the_time_to_wait(keyed: Keyed) -> None:
    client = await keyed(requests_per_minute=1)
    await client.messages.create(**COUNT)
    error = await told(client)
    assert type(error) is anthropic.RateLimitError and error.type == "rate_limit_error"
    assert 0 < int(error.response.headers["retry-after"]) <= 61 and "limit" in said(error)


async def test_batches_are_not_there_and_it_is_said_why(claude: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="Batches and files are not served") as failed:
        await claude.messages.batches.list()
    assert failed.value.type == "not_found_error"


async def test_a_missing_max_tokens_is_a_bad_request_in_claudes_words(claude: AsyncAnthropic) -> None:
    error = await told(claude, extra_body={"max_tokens": None})
    assert type(error) is anthropic.BadRequestError and error.type == "invalid_request_error"
    assert said(error) == "max_tokens: Input should be a valid integer"


def refusing(status: int, kind: str, **headers: str) -> Script:
    async def script(connection: Connection) -> None:
        body = {"type": "error", "error": {"type": kind, "message": "said Claude"}, "request_id": "req_1"}
        await connection.answer(status, json.dumps(body).encode(), request_id="req_1", **headers)

    return script


@pytest.mark.parametrize(("status", "kind", "raised"), [
    (400, "invalid_request_error", anthropic.BadRequestError),
    (413, "request_too_large", anthropic.ContentTooLargeError),
    (429, "rate_limit_error", anthropic.RateLimitError), (500, "api_error", anthropic.InternalServerError),
    (529, "overloaded_error", anthropic.OverloadedError),
])
async def test_what_claude_refuses_is_raised_word_for_word(
        keyed: Keyed, status: int, kind: str, raised: type[Exception]) -> None:
    async with upstream(refusing(status, kind, retry_after="7", retry_after_ms="6500")) as server:
        error = await told(await keyed(server.url))
    assert (type(error), error.status_code, error.type, said(error)) == (raised, status, kind, "said Claude")
    assert (error.request_id, error.response.headers["retry-after"]) == ("req_1", "7")
    assert error.response.headers["retry-after-ms"] == "6500"  # which the SDK takes before the other
    assert len(server.seen) == 2  # one each: the SDK tries again, not we


async def test_a_refusal_that_passes_is_got_over_by_the_sdk_alone(keyed: Keyed) -> None:
    async with upstream(refusing(529, "overloaded_error", retry_after_ms="1"), whole) as server:
        client = await keyed(server.url, tries=2)
        assert text_in(await client.messages.create(**COUNT)) == "Hello, wörld"
    assert [one.headers["x-stainless-retry-count"] for one in server.seen] == ["0", "1"]


async def test_an_error_in_the_middle_of_a_stream_is_raised_with_claudes_words(keyed: Keyed) -> None:
    async def script(connection: Connection) -> None:
        error = {"type": "overloaded_error", "message": "said Claude"}
        await connection.stream(START, BLOCK, delta("some"), frame("error", error=error, request_id="req_1"))

    async with upstream(script) as server:
        client = await keyed(server.url)
        texts = []
        with pytest.raises(anthropic.APIStatusError, match="said Claude") as failed:
            async with client.messages.stream(**COUNT) as stream:
                async for text in stream.text_stream:
                    texts.append(text)
    assert (texts, failed.value.type) == (["some"], "overloaded_error")


async def test_a_stream_that_breaks_is_raised_as_an_error_of_the_api(keyed: Keyed) -> None:
    async def script(connection: Connection) -> None:
        await connection.begin()
        await connection.chunk(START + BLOCK + delta("some"))
        connection.cut()

    async with upstream(script) as server:
        stream = await (await keyed(server.url)).messages.create(**COUNT, stream=True)
        names = []
        with pytest.raises(anthropic.APIStatusError) as failed:
            async for event in stream:
                names.append(event.type)
    assert (names[-1], failed.value.type) == ("content_block_delta", "api_error")


async def test_a_messages_request_id_is_claudes(keyed: Keyed) -> None:
    async def script(connection: Connection) -> None:
        await connection.answer(200, json.dumps({"input_tokens": 3, "id": "msg_1"}).encode(), request_id="req_1")

    async with upstream(script) as server:
        client = await keyed(server.url)
        assert (await client.messages.create(**COUNT))._request_id == "req_1"
        assert (await client.messages.count_tokens(model=SONNET, messages=COUNT["messages"]))._request_id == "req_1"
