"""Claude's events as values: what they say, and what they tell when they are folded."""
import json
from typing import Any

import pytest

from aioapp.errors import UpstreamFailed
from aioapp.messages.events import Event, Usage
from aioapp.messages.fold import Fold, fold

Payload = dict[str, Any]


def event(name: str, **fields: Any) -> Event:
    return Event(name, json.dumps({"type": name, **fields}).encode())


def start(**message: Any) -> Event:
    return event("message_start", message={
        "id": "msg_1", "model": "claude-x", "content": [], "stop_reason": None,
        "usage": {"input_tokens": 4, "output_tokens": 1}, **message})


def block(index: int, kind: str, **fields: Any) -> Event:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def delta(index: int, kind: str, **fields: Any) -> Event:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def stop(index: int) -> Event:
    return event("content_block_stop", index=index)


def ended(**usage: Any) -> Event:
    return event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=usage)


def test_text_blocks_are_joined_and_thinking_before_them_is_not_text() -> None:
    message = fold([
        start(), block(0, "thinking", thinking="", signature=""), event("ping"),
        delta(0, "thinking_delta", thinking="let me "), delta(0, "thinking_delta", thinking="see"),
        delta(0, "signature_delta", signature="sig"), stop(0),
        block(1, "text", text="A"), delta(1, "text_delta", text="B"), delta(1, "text_delta", text="C"), stop(1),
        block(2, "text", text=""), delta(2, "text_delta", text="D"), stop(2),
        ended(output_tokens=9), event("message_stop"),
    ])
    assert message.text == "ABCD"
    assert message.body["content"][0] == {"type": "thinking", "thinking": "let me see", "signature": "sig"}
    assert (message.model, message.stop_reason) == ("claude-x", "end_turn")


def test_usage_is_cumulative_so_the_last_word_counts_and_what_it_lacks_stays() -> None:
    message = fold([start(), ended(output_tokens=3), ended(output_tokens=8, cache_read_input_tokens=2)])
    assert message.usage == Usage(4, 8, 0, 2)
    assert message.usage.total == 14


def test_a_null_in_a_later_count_takes_nothing_away() -> None:
    message = fold([start(), ended(input_tokens=None, output_tokens=8, cache_read_input_tokens=None)])
    assert message.usage == Usage(4, 8, 0, 0)


def test_a_tools_input_and_citations_are_gathered_too() -> None:
    message = fold([
        start(), block(0, "tool_use", id="t", name="n", input={}),
        delta(0, "input_json_delta", partial_json=""), delta(0, "input_json_delta", partial_json='{"a":'),
        delta(0, "input_json_delta", partial_json="1}"), stop(0),
        block(1, "text", text=""), delta(1, "citations_delta", citation={"x": 1}),
        delta(1, "citations_delta", citation={"x": 2}), delta(1, "some_new_delta", what=1), stop(1),
    ])
    assert message.body["content"][0]["input"] == {"a": 1}
    assert message.body["content"][1]["citations"] == [{"x": 1}, {"x": 2}]


def test_unknown_events_and_fields_change_nothing() -> None:
    events = [start(), block(0, "text", text=""), delta(0, "text_delta", text="hi"), stop(0), ended(output_tokens=2)]
    strange = Event("some_new_event", b"not even JSON")
    assert fold([*events[:2], strange, *events[2:]]).body == fold(events).body


def test_a_whole_message_is_itself() -> None:
    body = {"model": "m", "content": [{"type": "text", "text": "hi"}], "usage": {"output_tokens": 1}, "extra": True}
    whole = Event("message", json.dumps(body).encode())
    assert fold([whole]).body == body
    assert Fold().add(whole) == "hi"


def test_the_text_of_an_event_is_what_it_adds_to_the_answer() -> None:
    folded = Fold()
    told = [folded.add(one) for one in (
        start(), block(0, "thinking", thinking=""), delta(0, "thinking_delta", thinking="hm"), stop(0), event("ping"),
        block(1, "text", text="begin"), delta(1, "text_delta", text="é"), stop(1), ended(output_tokens=3))]
    assert told == ["", "", "", "", "", "begin", "é", "", ""]


@pytest.mark.parametrize("events", [
    [],
    [Event("message", b"{")],
    [Event("message", b"[]")],
    [Event("message", b"{}")],
    [Event("message", b'{"model": "m", "content": [1]}')],
    [Event("message", b'{"model": "m", "content": [{"type": "text"}]}')],
    [Event("message_start", b'{"message": 5}')],
    [event("message_start")],
    [delta(0, "text_delta", text="early")],
    [start(), delta(3, "text_delta", text="no such block")],
    [start(), event("content_block_start")],
    [start(), stop(7)],
    [start(), block(10**30, "text", text="")],
    [start(), block(-1, "text", text="")],
    [start(), block(1, "text", text="")],
    [start(), block(True, "text", text="")],
    [start(), block(0, "text", text=""), delta(-1, "text_delta", text="x")],
    [start(), block(0, "text", text=""), delta(10**30, "text_delta", text="x")],
    [start(), block(0, "thinking", thinking=""), delta(0, "text_delta", text="x"), stop(0)],
    [start(), block(0, "text", text=""), delta(0, "text_delta", text=5), stop(0)],
    [start(), Event("content_block_start", b'{"index":0,"content_block":' + b"[" * 5000 + b"]" * 5000 + b"}")],
    [start(), block(0, "text", text=5), delta(0, "text_delta", text="x"), stop(0)],
    [start(), block(0, "tool_use", input={}), delta(0, "input_json_delta", partial_json="{"), stop(0)],
    [start(), event("message_delta", delta=[1])],
    [start(), event("message_delta", delta="abc")],
    [start(), event("message_delta", delta={}, usage="abc")],
    [start(), event("message_delta", delta={"stop_reason": [1]})],
    [start(), event("message_delta", delta={"usage": 5})],
    [event("message_start", message="x")],
    [event("message_start", message={"model": "m", "content": [], "usage": 7})],
    [start(), block(0, "text", text=""), delta(0, "text_delta", text="never closed")],
    [Event("message", b'{"model": "m", "content": [], "usage": 5}')],
    [Event("message", b'{"model": "m", "content": [], "stop_reason": 5}')],
], ids=str)
def test_events_that_make_no_sense_are_a_clear_failure(events: list[Event]) -> None:
    with pytest.raises(UpstreamFailed):
        fold(events)


def test_a_fold_tells_what_it_knows_so_far() -> None:
    folded = Fold()
    assert folded.so_far() == {}
    folded.add(start())
    assert folded.so_far()["model"] == "claude-x"


def test_counts_that_are_no_numbers_count_as_none() -> None:
    assert Usage.of({"input_tokens": "many", "output_tokens": None}) == Usage.of(5) == Usage()
