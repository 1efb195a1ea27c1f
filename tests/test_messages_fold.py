"""What is done for many events at once is what is done for each of them."""
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.errors import UpstreamFailed
from aioapp.messages.event_parser import batch_in
from aioapp.messages.events import Event
from aioapp.messages.fold import Fold
from aioapp.messages.frames import wire_of

TEXT = st.text(max_size=5) | st.sampled_from(["", "plain", "a\nb", '"', "\\", "\u2028", "é", "\x7f", "[DONE]"])
INDEX = st.sampled_from([0, 0, 0, 1, 2, 7])


def event(said: dict[str, Any], *, spaced: bool = True) -> Event:
    separators = (", ", ": ") if spaced else (",", ":")
    return Event(said["type"], json.dumps(said, ensure_ascii=False, separators=separators).encode("utf-8", "replace"))


def block(index: int, kind: str) -> Event:
    content = {"type": kind, "text": ""} if kind == "text" else {"type": kind, "thinking": ""}
    return event({"type": "content_block_start", "index": index, "content_block": content})


def delta(index: int, text: str, kind: str, spaced: bool) -> Event:
    key = "text" if kind == "text_delta" else "thinking"
    return event({"type": "content_block_delta", "index": index, "delta": {"type": kind, key: text}}, spaced=spaced)


START = event({"type": "message_start", "message": {
    "type": "message", "model": "m", "content": [], "stop_reason": None, "usage": {"input_tokens": 1}}})
ODD = st.sampled_from([
    *(Event("content_block_delta", b'{"type":"content_block_delta","index":%b,"delta":{"type":"text_delta",'
            b'"text":"%b"}}' % odd) for odd in ((b"01", b"x"), (b"0", b"\xff"), (b"0", b"\t"))),
    Event("content_block_delta", b"{}"), Event("ping", b"{}"), Event("message_stop", b"{}"),
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}})])
EVENTS = st.lists(st.one_of(
    st.builds(block, INDEX, st.sampled_from(["text", "text", "thinking"])),
    *[st.builds(delta, INDEX, TEXT, st.sampled_from(["text_delta"] * 3 + ["thinking_delta"]), st.booleans())] * 4,
    st.builds(lambda index: event({"type": "content_block_stop", "index": index}), INDEX), ODD), max_size=25)


def one_by_one(folded: Fold, batch: list[Event]) -> tuple[list[str], str | None]:
    pieces = []
    for one in batch:
        try:
            if piece := folded.add(one):
                pieces.append(piece)
        except UpstreamFailed as error:
            return pieces, error.detail
    return pieces, None


def told(folded: Fold) -> object:
    try:
        return folded.message().body
    except UpstreamFailed as error:
        return error.detail


@given(events=st.tuples(EVENTS, EVENTS))
def test_many_events_at_once_are_folded_as_one_by_one(events: tuple[list[Event], list[Event]]) -> None:
    quick, plain = Fold(), Fold()
    for batch in ([START, block(0, "text")], *events):
        pieces, failure = quick.add_all(batch_in(wire_of(batch)))
        assert (pieces, failure and failure.detail) == one_by_one(plain, batch)
        if failure is not None:
            return
    ends = [event({"type": "content_block_stop", "index": index}) for index in range(5)]
    assert [quick.add_all([end])[0] for end in ends] == [one_by_one(plain, [end])[0] for end in ends]
    assert told(quick) == told(plain)


def test_the_usual_deltas_are_folded_without_being_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    folded = Fold()
    folded.add_all([START, block(0, "text"), delta(0, "first", "text_delta", False)])
    monkeypatch.setattr("aioapp.messages.fold.payload", None)
    usual = [delta(0, text, "text_delta", spaced) for text in "abc" for spaced in (True, False)]
    pieces, failure = folded.add_all(batch_in(wire_of(usual)))
    assert (pieces, failure) == (["a", "a", "b", "b", "c", "c"], None)
    monkeypatch.undo()
    folded.add_all([event({"type": "content_block_stop", "index": 0})])
    assert folded.message().text == "firstaabbcc"
