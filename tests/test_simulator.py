"""The simulator's face: to the SDK, unchanged, and as a program."""
import argparse
import asyncio
import math
import signal
import sys
import warnings
from typing import Any

import pytest
from aiohttp import ClientSession
from anthropic import (
    Anthropic, APIError, APIStatusError, AsyncAnthropic, AuthenticationError, NotFoundError, RateLimitError,
)
from anthropic.resources.messages import DEPRECATED_MODELS
from yarl import URL

from aioapp.simulator import server as simulator
from aioapp.simulator.server import create_simulator, main, serve
from aioapp.simulator.reserved import REFUSED, TROUBLED
from tests.simulated import HEADERS, Json, asynchronous, body, post, running, text_in

base = pytest.fixture(running)
claude = pytest.fixture(asynchronous)


async def test_the_async_sdk_gets_a_message_with_thinking_text_and_whole_usage(claude: AsyncAnthropic) -> None:
    message = await claude.messages.create(model="claude-sonnet-5-5", max_tokens=1000, messages=[
        {"role": "user", "content": "Tell me about rainbows"}])
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert "rainbows" in text_in(message)
    assert (message.stop_reason, message.stop_sequence, message.stop_details) == ("end_turn", None, None)
    assert message.usage.output_tokens_details is not None
    assert 0 < message.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens
    assert (message.usage.service_tier, message.usage.inference_geo) == ("standard", "global")


async def test_the_sync_sdk_creates_streams_counts_and_lists(base: str) -> None:
    def talk() -> tuple[str, str, int, int]:
        with Anthropic(base_url=base, api_key="anything") as client:
            whole = client.messages.create(model="custom", max_tokens=99, messages=[{"role": "user", "content": "Hi"}])
            with client.messages.stream(model="custom", max_tokens=99, messages=[
                    {"role": "user", "content": "Hi"}]) as events:
                streamed = events.get_final_message()
            counted = client.messages.count_tokens(model="custom", messages=[{"role": "user", "content": "Hi"}])
            listed = list(client.models.list(limit=7))
            return text_in(whole), text_in(streamed), counted.input_tokens - whole.usage.input_tokens, len(listed)

    whole, streamed, difference, listed = await asyncio.to_thread(talk)
    assert whole == streamed != ""
    assert difference == 0
    assert listed == 18


async def test_the_async_sdk_folds_a_stream_into_the_message_that_create_returns(claude: AsyncAnthropic) -> None:
    async with claude.messages.stream(model="claude-opus-5-5", max_tokens=1000, messages=[
            {"role": "user", "content": "Tell me about rainbows"}]) as events:
        deltas = "".join([text async for text in events.text_stream])
        streamed = await events.get_final_message()
    whole = await claude.messages.create(model="claude-opus-5-5", max_tokens=1000, messages=[
        {"role": "user", "content": "Tell me about rainbows"}])
    assert deltas == text_in(whole)
    assert streamed.content[0] == whole.content[0] and text_in(streamed) == text_in(whole)
    assert streamed.usage == whole.usage


async def test_the_async_sdk_reads_raw_events(claude: AsyncAnthropic) -> None:
    events = await claude.messages.create(model="custom", max_tokens=9, stream=True, messages=[
        {"role": "user", "content": "Hi"}])
    types = [event.type async for event in events]
    assert types[0] == "message_start" and types[-1] == "message_stop"


async def test_the_sdk_raises_its_own_exceptions(base: str, claude: AsyncAnthropic) -> None:
    with pytest.raises(RateLimitError):
        await claude.messages.create(model="simulate-429", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(NotFoundError, match="model: claude-opus-9"):
        await claude.messages.create(model="claude-opus-9", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
    async with AsyncAnthropic(base_url=base, auth_token="an invalid one", max_retries=0) as stranger:
        with pytest.raises(AuthenticationError, match="Invalid bearer token"):
            await stranger.models.list()


async def test_an_error_event_reaches_the_sdk_after_some_text(claude: AsyncAnthropic) -> None:
    heard = ""
    with pytest.raises(APIStatusError) as error:
        async with claude.messages.stream(model="simulate-error", max_tokens=500, messages=[
                {"role": "user", "content": "Hi"}]) as events:
            async for text in events.text_stream:
                heard += text
    assert heard and error.value.type == "overloaded_error"


async def test_a_cut_reaches_the_sdk_as_an_exception_streamed_or_not(claude: AsyncAnthropic) -> None:
    heard = ""
    with pytest.raises(Exception, match="incomplete chunked read"):
        async with claude.messages.stream(model="simulate-cut", max_tokens=500, messages=[
                {"role": "user", "content": "Hi"}]) as events:
            async for text in events.text_stream:
                heard += text
    assert heard
    with pytest.raises(APIError):
        await claude.messages.create(model="simulate-cut", max_tokens=500, messages=[{"role": "user", "content": "Hi"}])


EVERYTHING: Json = {
    "model": "claude-opus-4-6", "max_tokens": 1024, "stop_sequences": ["string"], "service_tier": "auto",
    "speed": "standard", "inference_geo": "inference_geo", "metadata": {"user_id": "13803d75"},
    "cache_control": {"type": "ephemeral", "ttl": "5m"}, "thinking": {"type": "adaptive", "display": "summarized"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"foo": "bar"}}},
    "system": [{"type": "text", "text": "Today's date is 2024-06-01.", "citations": [{"type": "char_location"}]}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello, world"}]}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "tools": [{"type": "custom", "name": "name", "defer_loading": True, "input_examples": [{"foo": "bar"}],
               "input_schema": {"type": "object", "properties": {"location": "bar"}, "required": ["location"]}}],
}
"""Fields with values as the SDK's own tests have them."""
BETAS: Json = {
    "betas": ["message-batches-2024-09-24"], "container": {"id": "id", "skills": []}, "fallbacks": [{"model": "model"}],
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}, "mcp_servers": [
        {"type": "url", "name": "name", "url": "url"}],
}


async def test_the_sdks_own_tests_get_answers_to_all_the_fields_that_they_send(claude: AsyncAnthropic) -> None:
    for messages, more in ((claude.messages, {"container": "container"}), (claude.beta.messages, BETAS)):
        create: Any = messages.create
        message = await create(**EVERYTHING, **more)
        events = [event.type async for event in await create(**EVERYTHING, **more, stream=True)]
        assert (message.stop_reason, message.usage.speed, events[-1]) == ("end_turn", "standard", "message_stop")


async def test_the_sdks_own_tests_get_answers_from_models_that_are_retired(claude: AsyncAnthropic) -> None:
    asked: Json = {"messages": EVERYTHING["messages"]}
    for messages in (claude.messages, claude.beta.messages):
        count: Any = messages.count_tokens
        assert (await count(model="claude-mythos-preview", **asked)).input_tokens > 0
    for model in {*DEPRECATED_MODELS} - {"claude-mythos-preview"}:  # which the list of models calls retired
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            message = await claude.messages.create(model=model, max_tokens=1024, **asked)
            assert message.model.startswith(model)  # some are aliases


async def test_every_listed_model_parses_as_the_sdks_model_info(claude: AsyncAnthropic) -> None:
    models = [model async for model in claude.models.list(limit=4)]
    assert len(models) == len({model.id for model in models}) == 18
    for model in models:
        assert model == await claude.models.retrieve(model.id)
        assert model.capabilities is not None and model.capabilities.thinking.supported


async def test_the_program_serves_until_sigterm_and_ends_cleanly() -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioapp.simulator", "--port", "0", "--pace", "0", stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE)
    try:
        assert program.stdout is not None and program.stderr is not None
        address = (await asyncio.wait_for(program.stdout.readline(), 20)).decode().strip()
        async with ClientSession(address, headers=HEADERS) as session:
            assert (await post(session))[0] == 200
    finally:
        program.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(program.communicate(), 10)
    assert (program.returncode, errors) == (0, b"")


async def test_serving_ends_on_sigint_even_with_an_answer_under_way(capsys: pytest.CaptureFixture[str]) -> None:
    serving = asyncio.create_task(serve("127.0.0.1", 0, pace=1.0))
    async with asyncio.timeout(10):
        while not (address := capsys.readouterr().out.strip()):
            await asyncio.sleep(0.001)
        async with ClientSession(address, headers=HEADERS) as session:
            async with session.post("/v1/messages", json=body(stream=True)) as response:
                await response.content.readany()
                signal.raise_signal(signal.SIGINT)
                await serving


@pytest.mark.parametrize("argv", [
    ["--port", "x"], ["--port", "65536"], ["--port", "-1"], ["--port"], ["--pace", "-1"], ["--pace", "nan"],
    ["--pace", "inf"], ["--pace", "fast"], ["--what"],
])
def test_a_bad_flag_is_one_line_and_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("aioapp.simulator: ")


@pytest.mark.parametrize(("argv", "takes"), [
    (["--pace", "x"], "--pace: 'x' is not a number from 0 on"),
    (["--port", "65536"], "--port: '65536' is not a whole number from 0 to 65535"),
])
def test_a_bad_flag_is_told_what_it_takes(argv: list[str], takes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err == f"aioapp.simulator: argument {takes}\n"


async def test_a_taken_port_is_one_line_and_status_1(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(URL(base).port)
    assert await asyncio.to_thread(main, ["--port", port]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_program_ends_with_status_0_once_serving_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def served(host: str, port: int, *, pace: float) -> None:
        assert (host, port, pace) == ("127.0.0.1", 0, 0.5)

    monkeypatch.setattr(simulator, "serve", served)
    assert main(["--pace", "0.5"]) == 0


@pytest.mark.parametrize("pace", [-1.0, math.nan, math.inf])
def test_a_bad_pace_is_a_value_error(pace: float) -> None:
    with pytest.raises(ValueError, match="pace"):
        create_simulator(pace=pace)


def test_options_have_defaults() -> None:
    assert simulator.to_options([]) == argparse.Namespace(host="127.0.0.1", port=0, pace=1.0)


def test_the_docstring_names_every_reserved_model() -> None:
    for name in (*REFUSED, *TROUBLED):
        assert name in str(simulator.__doc__)
