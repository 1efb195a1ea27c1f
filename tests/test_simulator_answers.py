"""What the simulator answers, and where it stops."""
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.simulated import COUNT, HELLO, Json, body, connected, post, running, stream, text_in

base = pytest.fixture(running)
http = pytest.fixture(connected)


async def test_the_same_prompt_gets_the_same_answer_and_another_gets_another(http: ClientSession) -> None:
    first, again = [(await post(http))[1] for _ in range(2)]
    other = (await post(http, messages=[{"role": "user", "content": "Volcanoes?"}]))[1]
    assert first["content"] == again["content"] != other["content"]
    assert first["id"] != again["id"]


async def test_an_answer_has_several_lines_a_list_and_characters_beyond_ascii(http: ClientSession) -> None:
    text = text_in((await post(http))[1])
    assert "\n- " in text and not text.isascii()
    assert "rainbows, glaciers" in text


async def test_characters_beyond_ascii_travel_as_utf8(http: ClientSession) -> None:
    for streamed in (True, False):
        async with http.post("/v1/messages", json=body(stream=streamed)) as response:
            raw = await response.read()
        assert "—".encode() in raw and "ï".encode() in raw and b"\\u" not in raw


async def test_an_answer_knows_the_turn_and_takes_the_last_user_text_for_its_topic(http: ClientSession) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Ice."}, {"role": "user", "content": "One"},
                {"role": "user", "content": [{"type": "text", "text": "Volcanoes?"}, {"type": "image", "source": {}}]}]
    text = text_in((await post(http, messages=messages))[1])
    assert "Volcanoes" in text and "rainbows" not in text and "turn 2 of" in text


async def test_a_conversation_without_user_is_answered_too(http: ClientSession) -> None:
    assert "nothing in particular" in text_in((await post(http, messages=[{"role": "system", "content": "Be."}]))[1])


async def test_counting_gives_the_numbers_and_nothing_else(http: ClientSession) -> None:
    text = text_in((await post(http, messages=COUNT))[1])
    assert text == ", ".join(map(str, range(1, 21)))


async def test_counting_to_a_billion_ends_at_max_tokens(http: ClientSession) -> None:
    messages = [{"role": "user", "content": "count up to 999999999"}]
    status, message = await post(http, messages=messages, max_tokens=5)
    assert (text_in(message), message["stop_reason"]) == ("1, 2, 3", "max_tokens")


async def test_max_tokens_covers_thinking_and_text(http: ClientSession) -> None:
    _, whole = await post(http, model="claude-haiku-5-5")
    thinking = whole["usage"]["output_tokens_details"]["thinking_tokens"]
    _, message = await post(http, model="claude-haiku-5-5", max_tokens=thinking + 3)
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", thinking + 3)
    _, message = await post(http, model="claude-haiku-5-5", max_tokens=3)
    assert [block["type"] for block in message["content"]] == ["thinking"]
    _, message = await post(http, model="claude-haiku-5-5", max_tokens=whole["usage"]["output_tokens"])
    assert message["stop_reason"] == "end_turn"


async def test_no_tokens_at_all_warm_the_cache_and_cost_nothing(http: ClientSession) -> None:
    _, message = await post(http, max_tokens=0)
    assert (message["content"], message["usage"]["output_tokens"], message["stop_reason"]) == ([], 0, "max_tokens")
    assert [event["type"] for event in await stream(http, max_tokens=0)] == [
        "message_start", "message_delta", "message_stop"]


async def test_a_stop_sequence_across_deltas_ends_the_answer_before_it(http: ClientSession) -> None:
    more: Json = {"messages": COUNT, "stop_sequences": ["19, 20", "9, 10, 1", "x"]}
    _, message = await post(http, **more)
    assert text_in(message) == "1, 2, 3, 4, 5, 6, 7, 8, "
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "9, 10, 1")
    events = await stream(http, **more)
    assert "".join(event["delta"].get("text", "") for event in events if "index" in event and "delta" in event
                   ) == text_in(message)
    assert events[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "9, 10, 1", "stop_details": None}


async def test_the_stop_sequence_that_is_complete_first_wins(http: ClientSession) -> None:
    _, message = await post(http, messages=COUNT, stop_sequences=["2, 3, 4", ", 3"])
    assert (text_in(message), message["stop_sequence"]) == ("1, 2", ", 3")


async def test_max_tokens_before_the_stop_sequence_is_no_stop_sequence(http: ClientSession) -> None:
    _, message = await post(http, messages=COUNT, stop_sequences=["20"], max_tokens=3)
    assert (message["stop_reason"], message["stop_sequence"]) == ("max_tokens", None)


@pytest.mark.parametrize(("model", "thinking", "thinks"), [
    ("claude-opus-5", ..., True), ("claude-opus-5", {"type": "disabled"}, False),
    ("claude-opus-5-5", {"type": "between_tools"}, False), ("claude-opus-4-8", ..., False),
    ("claude-opus-4-8", {"type": "adaptive"}, True), ("custom", ..., False), ("custom", {"type": "adaptive"}, True),
    ("claude-haiku-4-5", {"type": "enabled", "budget_tokens": 1024}, True),
])
async def test_the_newest_models_think_unasked_and_others_when_asked(
        http: ClientSession, model: str, thinking: Any, thinks: bool) -> None:
    status, message = await post(http, model=model, thinking=thinking, max_tokens=2000)
    assert status == 200, message
    assert (message["content"][0]["type"] == "thinking") is thinks


async def test_omitted_thinking_leaves_a_signature_and_is_counted(http: ClientSession) -> None:
    more: Json = {"model": "claude-opus-5-5", "thinking": {"type": "adaptive", "display": "omitted"}}
    _, message = await post(http, **more)
    assert message["content"][0]["thinking"] == "" and message["content"][0]["signature"]
    assert message["usage"]["output_tokens_details"]["thinking_tokens"] > 0
    deltas = [event["delta"]["type"] for event in await stream(http, **more) if event.get("index") == 0
              and "delta" in event]
    assert deltas == ["signature_delta"]


async def test_an_alias_answers_under_its_dated_name_and_any_date_is_taken(http: ClientSession) -> None:
    assert (await post(http, model="claude-haiku-4-5"))[1]["model"] == "claude-haiku-4-5-20251001"
    assert (await post(http, model="claude-opus-4-6-20260205"))[1]["model"] == "claude-opus-4-6-20260205"
