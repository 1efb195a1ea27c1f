"""Bodies that the simulator takes, and those that it refuses in Claude's words."""
import json
from io import BytesIO

import pytest
from aiohttp import ClientSession
from anthropic import AsyncAnthropic

from tests.simulated import HELLO, OLD, Json, asynchronous, body, complaint, connected, post, running

base = pytest.fixture(running)
http = pytest.fixture(connected)
claude = pytest.fixture(asynchronous)

BETA = {"anthropic-beta": "of-tomorrow-2027-01-01"}


@pytest.mark.parametrize(("more", "message"), [
    ({"model": ...}, "model: Field required"),
    ({"max_tokens": ...}, "max_tokens: Field required"),
    ({"messages": ...}, "messages: Field required"),
    ({"model": 5}, "model: Input should be a valid string"),
    ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": 1.5}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
    ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the maximum allowed number of output tokens "
                              "for custom"),
    ({"stream": 1}, "stream: Input should be a valid boolean"),
    ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
    ({"temperature": 1}, "temperature: Extra inputs are not permitted"),
    ({"messages": []}, "messages: at least one message is required"),
    ({"messages": ["hi"]}, "messages.0: Input should be an object"),
    ({"messages": [{"content": "hi"}]}, "messages.0.role: Field required"),
    ({"messages": [*HELLO, {"role": "user"}]}, "messages.1.content: Field required"),
    ({"messages": [{"role": "user", "content": "a", "name": "b"}]}, "messages.0.name: Extra inputs are not permitted"),
    ({"messages": [{"role": "tool", "content": "a"}]},
     'messages: Unexpected role "tool". Allowed roles are "user", "assistant" or "system"'),
    ({"messages": [{"role": ["user"], "content": "a"}]},
     'messages: Unexpected role "[\'user\']". Allowed roles are "user", "assistant" or "system"'),
    ({"messages": [{"role": "user", "content": ""}]}, "messages.0: all messages must have non-empty content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content: Input should be a valid list"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
     "messages: text content blocks must be non-empty"),
    ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]},
     "messages.0.content.0: Input should be a content block"),
    ({"messages": [{"role": "user", "content": [None]}]}, "messages.0.content.0: Input should be a content block"),
    ({"messages": [*HELLO, {"role": "assistant", "content": "a"}]}, "This model does not support assistant message "
     "prefill. The conversation must end with a user message."),
    ({"stop_sequences": [7]}, "stop_sequences.0: Input should be a valid string"),
    ({"stop_sequences": ["a", " \n"]}, "stop_sequences: each stop sequence must contain non-whitespace"),
    ({"thinking": {}}, "thinking.type: Input should be one of adaptive, between_tools, disabled, enabled"),
    ({"thinking": {"type": []}}, "thinking.type: Input should be one of adaptive, between_tools, disabled, enabled"),
    ({"model": "claude-opus-4-5", "thinking": {"type": "enabled"}},
     "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"),
    ({"model": "claude-opus-4-5", "thinking": {"type": "enabled", "budget_tokens": 1023}},
     "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"),
    ({"model": "claude-opus-4-5", "max_tokens": 1024, "thinking": {"type": "enabled", "budget_tokens": 1024}},
     "`max_tokens` must be greater than `thinking.budget_tokens`."),
    ({"output_config": {"effort": "huge"}},
     "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"),
    ({"output_config": {"effort": {}}},
     "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"),
    ({"model": "claude-haiku-4-5", "output_config": {"effort": "low"}},
     "output_config.effort: This model does not support the effort parameter."),
    ({"model": "claude-opus-4-6", "output_config": {"effort": "xhigh"}},
     "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium."),
])
async def test_a_bad_body_is_refused_in_claudes_words(http: ClientSession, more: Json, message: str) -> None:
    assert await complaint(http, **more) == message


async def test_a_hundred_thousand_messages_are_the_most(http: ClientSession) -> None:
    raw = json.dumps(body(messages=HELLO * 100_001)).encode()
    async with http.post("/v1/messages", data=BytesIO(raw)) as response:
        assert (await response.json())["error"]["message"] == "messages: List should have at most 100000 items"


@pytest.mark.parametrize(("model", "more", "message"), [
    ("claude-opus-4-6", {"temperature": 0.5, "top_p": 0.5, "top_k": 5}, None),
    ("claude-opus-4-6", {"temperature": 1.5}, "temperature: range: 0..1"),
    ("claude-opus-4-6", {"top_k": -1}, "top_k: range: 0..inf"),
    ("claude-opus-4-6", {"temperature": "hot"}, "temperature: Input should be a valid number"),
    ("claude-opus-4-5", {"temperature": 0.5, "top_p": 0.5},
     "`temperature` and `top_p` cannot both be specified for this model. Please use only one."),
    ("claude-opus-4-7", {"temperature": 1}, None),
    ("claude-opus-4-7", {"temperature": 0.5}, "`temperature` is deprecated for this model."),
    ("claude-opus-5-5", {"top_k": 5}, "`top_k` is deprecated for this model."),
])
async def test_the_old_version_takes_sampling_from_old_models_only(
        http: ClientSession, model: str, more: Json, message: str | None) -> None:
    status, answer = await post(http, headers=OLD, model=model, **more)
    assert (status, answer.get("error", {}).get("message")) == (200 if message is None else 400, message)


async def test_prefill_is_taken_by_old_models(http: ClientSession) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Because"}]
    assert (await post(http, model="claude-opus-4-5", messages=messages))[0] == 200


async def test_beta_fields_belong_to_the_beta_api(http: ClientSession) -> None:
    assert (await post(http, path="/v1/messages?beta=true", context_management={"edits": []}))[0] == 200
    assert (await post(http, headers=BETA, context_management={"edits": []}))[0] == 200
    assert await complaint(http, context_management={}) == "context_management: Extra inputs are not permitted"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_where_a_beta_is_asked_for_fields_may_be_newer_than_the_simulator(http: ClientSession, path: str) -> None:
    messages = [{"role": "user", "content": "Hi", "new": 1}]
    more: Json = {"messages": messages, "newer": [{}], **({} if path == "/v1/messages" else {"max_tokens": ...})}
    assert (await post(http, path, BETA, **more))[0] == (await post(http, f"{path}?beta=true", **more))[0] == 200
    assert (await post(http, path, **more))[0] == 400


@pytest.mark.parametrize(("path", "more", "message"), [
    ("/v1/messages", {"temperature": 1}, "temperature: Extra inputs are not permitted"),
    ("/v1/messages", {"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    ("/v1/messages/count_tokens", {"stop_sequences": 7}, "max_tokens: Extra inputs are not permitted"),
    ("/v1/messages/count_tokens", {"max_tokens": ..., "stop_sequences": 7},
     "stop_sequences: Extra inputs are not permitted"),
])
async def test_a_beta_brings_nothing_back_to_where_it_does_not_belong(
        http: ClientSession, path: str, more: Json, message: str) -> None:
    status, answer = await post(http, path, BETA, **more)
    assert (status, answer["error"]["message"]) == (400, message)


async def test_the_sdk_sends_its_betas_and_their_fields(claude: AsyncAnthropic) -> None:
    counted = await claude.beta.messages.count_tokens(
        model="claude-opus-5-5", betas=["context-management-2025-06-27"], context_management={"edits": []},
        messages=[{"role": "user", "content": "Hi"}])
    message = await claude.beta.messages.create(
        model="claude-opus-5-5", max_tokens=99, betas=["context-management-2025-06-27"],
        context_management={"edits": []}, messages=[{"role": "user", "content": "Hi"}])
    assert message.usage.input_tokens == counted.input_tokens


async def test_content_may_be_blocks_of_any_kind_and_the_system_may_speak_in_between(http: ClientSession) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
                                     {"type": "image", "source": source}, {"type": "document", "source": source}]},
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "x"},
                                          {"type": "tool_use", "id": "toolu_1", "name": "n", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "image", "source": source}]},
            {"type": "newer", "text": 7}]},
        {"role": "system", "content": "Be brief."},
    ]
    status, answer = await post(http, messages=messages, system=[{"type": "text", "text": "Be kind.", "citations": []}])
    assert status == 200, answer


async def test_all_the_fields_the_sdk_may_send_are_taken(http: ClientSession) -> None:
    status, answer = await post(
        http, system=[{"type": "text", "text": "Be brief."}], metadata={}, service_tier="auto", tools=[],
        tool_choice={"type": "auto"}, cache_control=None, container=None, diagnostics=None, inference_geo=None,
        speed=None, output_config={"effort": None}, fallbacks=[{"model": "claude-sonnet-5-5"}])
    assert status == 200, answer


async def test_counting_tokens_agrees_with_the_message_and_takes_no_max_tokens(http: ClientSession) -> None:
    more: Json = {"system": "Be brief.", "tools": [{"name": "t", "input_schema": {}}]}
    _, message = await post(http, **more)
    assert await post(http, path="/v1/messages/count_tokens", max_tokens=..., **more) == (
        200, {"input_tokens": message["usage"]["input_tokens"]})
    status, answer = await post(http, path="/v1/messages/count_tokens")
    assert answer["error"]["message"] == "max_tokens: Extra inputs are not permitted"
    longer = await post(http, path="/v1/messages/count_tokens", max_tokens=..., messages=HELLO * 3)
    assert longer[1]["input_tokens"] > message["usage"]["input_tokens"]


async def test_a_picture_takes_as_many_tokens_whatever_its_bytes(http: ClientSession) -> None:
    def counted_with(data: str) -> list[Json]:
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
        result = {"type": "tool_result", "tool_use_id": "t", "content": [picture]}
        return [{"role": "user", "content": [picture, result]}]

    small, large = [(await post(http, path="/v1/messages/count_tokens", max_tokens=..., messages=counted_with(data)))[1]
                    for data in ("aGk=", "aGk=" * 100_000)]
    assert small == large and 3200 < small["input_tokens"] < 3400


async def test_where_and_how_fast_a_call_was_to_run_is_told_in_its_usage(http: ClientSession) -> None:
    _, plain = await post(http)
    assert (plain["usage"]["inference_geo"], plain["usage"].get("speed")) == ("global", None)
    _, message = await post(http, inference_geo="us", speed="fast")
    assert (message["usage"]["inference_geo"], message["usage"]["speed"]) == ("us", "fast")


async def test_a_budget_needs_no_max_tokens_where_tokens_are_counted(http: ClientSession) -> None:
    thinking = {"type": "enabled", "budget_tokens": 5000}
    assert (await post(http, path="/v1/messages/count_tokens", max_tokens=..., model="claude-opus-4-5",
                       thinking=thinking))[0] == 200
