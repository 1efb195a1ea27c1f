"""Names of models that ask for trouble."""
from time import perf_counter

import pytest
from aiohttp import ClientPayloadError, ClientSession
from anthropic import AsyncAnthropic

from tests.simulated import asynchronous, body, connected, events_in, post, running, stream

base = pytest.fixture(running)
http = pytest.fixture(connected)
claude = pytest.fixture(asynchronous)


@pytest.mark.parametrize(("model", "status", "kind"), [
    ("simulate-429", 429, "rate_limit_error"), ("simulate-500", 500, "api_error"),
    ("simulate-529", 529, "overloaded_error"), ("simulate-error", 529, "overloaded_error"),
    ("simulate-418", 404, "not_found_error"), ("claude-mythos-preview", 404, "not_found_error"),
    ("claude-opus-4-9", 404, "not_found_error"), ("missing-model", 404, "not_found_error"),
])
async def test_names_that_ask_for_an_error_get_it(http: ClientSession, model: str, status: int, kind: str) -> None:
    async with http.post("/v1/messages", json=body(model=model)) as response:
        answer = await response.json()
        assert (response.status, answer["error"]["type"]) == (status, kind)
        assert answer["request_id"] == response.headers["request-id"]
        assert response.headers.get("retry-after") == ("1" if status == 429 else None)


async def test_slow_waits_before_the_first_byte_at_any_pace(http: ClientSession) -> None:
    begun = perf_counter()
    assert (await post(http, model="simulate-slow"))[0] == 200
    assert perf_counter() - begun >= 0.05


async def test_a_cut_stream_ends_in_its_middle_without_the_last_chunk(http: ClientSession) -> None:
    read = b""
    with pytest.raises(ClientPayloadError):
        async with http.post("/v1/messages", json=body(model="simulate-cut", stream=True)) as response:
            async for piece in response.content.iter_any():
                read += piece
    types = [event["type"] for event in events_in(read)]
    assert types.count("content_block_delta") > 3 and "content_block_stop" not in types


async def test_a_cut_body_ends_in_its_middle(http: ClientSession) -> None:
    read = b""
    with pytest.raises(ClientPayloadError):
        async with http.post("/v1/messages", json=body(model="simulate-cut")) as response:
            async for piece in response.content.iter_any():
                read += piece
    assert read.startswith(b'{"id":"msg_') and len(read) < int(response.headers["content-length"])


async def test_an_error_event_follows_some_deltas_and_ends_the_stream(http: ClientSession) -> None:
    events = await stream(http, model="simulate-error")
    assert events[-2]["type"] == "content_block_delta"
    assert events[-1] == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


async def test_a_refusal_is_an_answer_with_details_and_without_content(claude: AsyncAnthropic) -> None:
    message = await claude.messages.create(model="simulate-refusal", max_tokens=9, messages=[
        {"role": "user", "content": "Hi"}])
    async with claude.messages.stream(model="simulate-refusal", max_tokens=9, messages=[
            {"role": "user", "content": "Hi"}]) as events:
        streamed = await events.get_final_message()
    for answer in (message, streamed):
        assert (answer.stop_reason, answer.content, answer.usage.output_tokens) == ("refusal", [], 1)
        assert answer.stop_details is not None and answer.stop_details.category == "general_harms"
