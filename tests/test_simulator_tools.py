"""Tools: when the simulator calls them, with what, and what it makes of their results."""
import json
from typing import Any

import pytest
from aiohttp import ClientSession
from anthropic import AsyncAnthropic, beta_async_tool
from anthropic.types import ToolParam

from aioapp.simulator.examples import example_of
from tests.simulated import Json, asynchronous, complaint, connected, post, running, stream, text_in

base = pytest.fixture(running)
http = pytest.fixture(connected)
claude = pytest.fixture(asynchronous)

WEATHER: ToolParam = {"name": "get_weather", "description": "The weather", "input_schema": {
    "type": "object", "required": ["city", "days"], "properties": {
        "city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}, "unit": {"type": "string"}}}}
TIME: ToolParam = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
SEARCH = {"type": "web_search_20260318", "name": "web_search"}
TOOLS: Json = {"tools": [SEARCH, WEATHER, TIME]}
LEAST = {"city": "text", "days": 1}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}


def said(content: Any) -> list[Json]:
    return [{"role": "user", "content": content}]


def returned(content: Any, **more: Any) -> list[Json]:
    """A conversation that ends with the result of a tool."""
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}
    return [*said("Weather?"), {"role": "assistant", "content": [CALL]}, *said([result])]


async def calls(http: ClientSession, prompt: Any = "Hello", **more: Any) -> list[tuple[str, Json]]:
    """The calls that a prompt gets, which must be all of the answer, or none of it."""
    status, message = await post(http, messages=said(prompt), **{**TOOLS, **more})
    assert status == 200, message
    called = [(block["name"], block["input"]) for block in message["content"] if block["type"] == "tool_use"]
    assert message["stop_reason"] == ("tool_use" if called else "end_turn")
    assert len(called) in (0, len(message["content"]))
    return called


@pytest.mark.parametrize(("prompt", "called"), [
    ('Now [use get_weather {"city": "Rome"}], please', [("get_weather", {"city": "Rome"})]),
    ('[use get_weather\n{"city": "a ] b", "more": [1, {"x": null}]} ]',
     [("get_weather", {"city": "a ] b", "more": [1, {"x": None}]})]),
    ("[use get_weather]", [("get_weather", LEAST)]), ("[use get_time]", [("get_time", {})]),
    ('[use get_time {}] and [use get_weather {"city": "Bonn"}]', [("get_time", {}), ("get_weather", {"city": "Bonn"})]),
    ([{"type": "text", "text": "Be brief."}, {"type": "text", "text": "[use get_time]"}], [("get_time", {})]),
])
async def test_marks_in_the_prompt_call_tools(http: ClientSession, prompt: Any, called: list[Any]) -> None:
    assert await calls(http, prompt) == called


@pytest.mark.parametrize("prompt", [
    "Use get_time", "[use nothing_known]", '[use get_weather ["Rome"]]', "[use get_weather {city: Rome}]",
    '[use get_weather {"city": "Rome"', '[use get_weather {"days": NaN}]', '[use get_weather {"city": "\\ud800"}]',
    '[use get_weather {"city": 1} {"city": 2}]', "[use web_search]", "[use get_weather",
])
async def test_what_is_no_mark_of_a_known_tool_is_plain_text(http: ClientSession, prompt: str) -> None:
    assert await calls(http, prompt) == []


async def test_without_tools_a_mark_is_plain_text(http: ClientSession) -> None:
    assert await calls(http, "[use get_time]", tools=...) == await calls(http, "[use get_time]", tools=[]) == []


async def test_only_the_last_user_message_is_looked_at_for_marks(http: ClientSession) -> None:
    messages = [*said("[use get_time]"), {"role": "assistant", "content": "No."}, *said("Why not?")]
    assert (await post(http, messages=messages, **TOOLS))[1]["stop_reason"] == "end_turn"


@pytest.mark.parametrize(("choice", "prompt", "called"), [
    ({"type": "any"}, "Hello", [("get_weather", LEAST)]), ({"type": "any"}, "[use get_time]", [("get_time", {})]),
    ({"type": "tool", "name": "get_time"}, "Hello", [("get_time", {})]),
    ({"type": "tool", "name": "get_time"}, '[use get_weather] [use get_time {"zone": 1}]',
     [("get_time", {"zone": 1})]),
    ({"type": "tool", "name": "get_weather"}, "[use get_time]", [("get_weather", LEAST)]),
    ({"type": "auto"}, "Hello", []), ({"type": "auto"}, "[use get_time]", [("get_time", {})]),
    ({"type": "none"}, "[use get_time]", []), ({"type": "new in 2027"}, "[use get_time]", [("get_time", {})]),
    ({"type": "auto", "disable_parallel_tool_use": True}, "[use get_time] [use get_weather]", [("get_time", {})]),
])
async def test_the_choice_of_a_tool_is_kept(http: ClientSession, choice: Json, prompt: str, called: list[Any]) -> None:
    assert await calls(http, prompt, tool_choice=choice) == called


@pytest.mark.parametrize(("more", "message"), [
    ({"tool_choice": {"type": "any"}}, "tool_choice: may only be specified while providing tools"),
    ({"tool_choice": {"type": "tool", "name": "x"}, "tools": []},
     "tool_choice: may only be specified while providing tools"),
    ({"tool_choice": {"type": "tool", "name": "x"}, **TOOLS}, "Tool 'x' not found in provided tools"),
    ({"tool_choice": {"type": "tool"}, **TOOLS}, "tool_choice.tool.name: Field required"),
])
async def test_a_choice_that_cannot_be_kept_is_refused(http: ClientSession, more: Json, message: str) -> None:
    assert await complaint(http, **more) == message


@pytest.mark.parametrize("tools", [
    [None, "x", [], {}, {"name": 5}, {"type": "mcp_toolset", "mcp_server_name": "m"}, {"type": [], "name": "n"}],
    [{"name": "n", "input_schema": None}], [{"name": "n", "input_schema": {"required": "x", "properties": []}}],
    [{"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "editor"}],
])
async def test_tools_of_any_shape_are_taken(http: ClientSession, tools: Any) -> None:
    called = await calls(http, tools=tools, tool_choice={"type": "any"})
    assert [given for _, given in called] == [{}]


async def test_a_stream_of_a_call_has_claudes_events(http: ClientSession) -> None:
    events = await stream(http, messages=said('[use get_weather {"city": "Köln", "days": 2}]'), **TOOLS)
    start, deltas, end = events[1], events[3:-3], events[-3:]
    assert start["content_block"]["id"].startswith("toolu_")
    assert start == {"type": "content_block_start", "index": 0, "content_block": {
        "type": "tool_use", "id": start["content_block"]["id"], "name": "get_weather", "input": {}}}
    assert {(event["type"], event["index"], event["delta"]["type"]) for event in deltas} == {
        ("content_block_delta", 0, "input_json_delta")}
    pieces = [event["delta"]["partial_json"] for event in deltas]
    assert pieces[0] == "" and len(pieces) > 5 and json.loads("".join(pieces)) == {"city": "Köln", "days": 2}
    assert [event["type"] for event in end] == ["content_block_stop", "message_delta", "message_stop"]
    assert end[1]["delta"]["stop_reason"] == "tool_use" and end[1]["usage"]["output_tokens"] == len(pieces) - 1


async def test_the_sdk_folds_a_streamed_call_into_the_one_that_create_returns(claude: AsyncAnthropic) -> None:
    asked: Json = {"model": "claude-opus-5-5", "max_tokens": 500, "messages": said("[use get_weather] [use get_time]"),
                   **TOOLS}
    whole = await claude.messages.create(**asked)
    async with claude.messages.stream(**asked) as events:
        streamed = await events.get_final_message()
    for message in (whole, streamed):
        assert [block.type for block in message.content] == ["thinking", "tool_use", "tool_use"]
        assert message.stop_reason == "tool_use"
    blocks = [block for message in (whole, streamed) for block in message.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in blocks] == [("get_weather", LEAST), ("get_time", {})] * 2
    assert len({block.id for block in blocks}) == 4
    assert whole.usage == streamed.usage


async def test_a_call_that_max_tokens_would_cut_is_not_made(http: ClientSession) -> None:
    _, message = await post(http, messages=said("[use get_weather]"), max_tokens=3, **TOOLS)
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")


@pytest.mark.parametrize(("content", "text"), [
    ("21 °C", "The tool answered: 21 °C"), ([{"type": "text", "text": "Sun"}], "The tool answered: Sun"),
    ([{"type": "text", "text": "Sun"}, {"type": "image", "source": {}}, {"type": "text", "text": "Rain"}],
     "The tool answered: Sun\nRain"),
    ("[use get_time]", "The tool answered: [use get_time]"), ("", "The tool answered: "),
    (None, "The tool answered: "), ([None, {"text": 7}, "x"], "The tool answered: "),
])
async def test_the_text_of_a_result_is_the_answer(http: ClientSession, content: Any, text: str) -> None:
    for choice in ({"type": "auto"}, {"type": "any"}):
        _, message = await post(http, messages=returned(content), tool_choice=choice, **TOOLS)
        assert (text_in(message), message["stop_reason"]) == (text, "end_turn")


async def test_a_result_that_is_an_error_is_told_apart(http: ClientSession) -> None:
    assert text_in((await post(http, messages=returned("no such city", is_error=True)))[1]) == (
        "The tool failed: no such city")


async def test_all_results_of_a_turn_are_told_whoever_speaks_after_them(http: ClientSession) -> None:
    more = said([{"type": "tool_result", "tool_use_id": "toolu_2", "content": "noon"}, {"type": "text", "text": "So?"}])
    messages = [*returned("Sun"), *more, {"role": "system", "content": "Be brief."}, *said("[use get_time]")]
    _, message = await post(http, messages=messages, **TOOLS)
    assert text_in(message) == "The tool answered: Sun\nThe tool answered: noon"
    _, later = await post(http, messages=[*messages, {"role": "assistant", "content": "Hm"}, *said("Why?")], **TOOLS)
    assert "The tool answered" not in text_in(later)


async def test_stop_sequences_and_max_tokens_end_a_told_result_too(http: ClientSession) -> None:
    _, message = await post(http, messages=returned("Sun, then rain"), stop_sequences=["then"])
    assert (text_in(message), message["stop_reason"]) == ("The tool answered: Sun, ", "stop_sequence")
    _, message = await post(http, messages=returned("Sun"), max_tokens=2)
    assert (text_in(message), message["stop_reason"]) == ("The tool", "max_tokens")


async def test_the_sdks_tool_runner_calls_the_tool_once_and_gets_its_result_told(claude: AsyncAnthropic) -> None:
    asked: list[tuple[str, int]] = []

    @beta_async_tool
    async def get_weather(city: str, days: int) -> str:
        """The weather in a city."""
        asked.append((city, days))
        return f"Sun in {city}"

    for streamed in (False, True):
        runner: Any = claude.beta.messages.tool_runner(
            model="claude-sonnet-5-5", max_tokens=500, tools=[get_weather], stream=streamed, messages=[
                {"role": "user", "content": '[use get_weather {"city": "Rome", "days": 3}]'}])
        final = await runner.until_done()
        assert text_in(final.to_dict()) == "The tool answered: Sun in Rome"
    assert asked == [("Rome", 3)] * 2


@pytest.mark.parametrize(("schema", "example"), [
    ({}, {}), (None, {}), ({"required": ["a", 1, ["b"]]}, {"a": "text"}),
    ({"properties": {"a": "bar"}, "required": ["a"]}, {"a": "text"}),
    ({"properties": {"a": {"type": "string"}, "b": {}}, "required": ["b"]}, {"b": "text"}),
])
def test_an_example_has_the_required_properties_alone(schema: Any, example: Json) -> None:
    assert example_of(schema) == example


@pytest.mark.parametrize(("schema", "value"), [
    ({"type": "string"}, "text"), ({"type": "integer"}, 0), ({"type": "number", "minimum": 2.5}, 2.5),
    ({"type": "boolean"}, False), ({"type": "null"}, None), ({"type": "array", "items": {}}, []),
    ({"type": ["integer", "null"]}, 0), ({"type": "date"}, "text"), ({"type": []}, "text"),
    ({"type": "string", "enum": ["C", "F"]}, "C"), ({"const": 7}, 7), ({"type": "string", "default": "d"}, "d"),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0), ({"oneOf": [{"const": "x"}]}, "x"),
    ({"allOf": [{"$ref": "#/$defs/city"}]}, {"name": "text"}), ({"$ref": "#/definitions/old"}, False),
    ({"type": "object", "required": ["in"], "properties": {"in": {"type": "integer"}}}, {"in": 0}),
    ({"$ref": "#/$defs/circle"}, {"again": "text"}), ({"$ref": "#/$defs/nowhere"}, "text"), (True, "text"),
])
def test_an_example_fits_the_schema_of_each_property(schema: Any, value: Any) -> None:
    shared = {"city": {"type": "object", "required": ["name"]},
              "circle": {"type": "object", "required": ["again"], "properties": {"again": {"$ref": "#/$defs/circle"}}}}
    whole = {"required": ["it"], "properties": {"it": schema}, "$defs": shared,
             "definitions": {"old": {"type": "boolean"}}}
    assert example_of(whole) == {"it": value}
