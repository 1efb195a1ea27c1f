"""Server-sent events out of a byte stream."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.errors import UpstreamFailed
from aioapp.messages.events import Event
from aioapp.messages.event_parser import EventParser

STREAM = (
    b"\xef\xbb\xbfevent: message_start\ndata: {\"a\":1}\n\n"
    b": a comment\n\n"
    b"event: ping\ndata: {}  \n\n"
    b"data: one\ndata: two\n\n"
    b"event:tight\ndata:close\nid: 7\nretry: 3\n\n"
    b"event: empty\n\n"
    b"event: last\r\ndata: {}\r\n\r\n"
    b"event: old\rdata: mac\r\r"
)
EVENTS = [
    Event("message_start", b'{"a":1}'),
    Event("ping", b"{}  "),
    Event("message", b"one\ntwo"),
    Event("tight", b"close"),
    Event("last", b"{}"),
]


def fed(*pieces: bytes) -> list[Event]:
    frames = EventParser()
    return [event for piece in pieces for event in frames.feed(piece)]


def test_each_frame_is_an_event_whatever_its_line_ends() -> None:
    assert fed(STREAM + b"\n") == [*EVENTS, Event("old", b"mac")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_the_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = sorted({0, len(STREAM), *cuts})
    pieces = [STREAM[start:end] for start, end in zip(edges, edges[1:])]
    assert fed(*pieces, b"\n") == [*EVENTS, Event("old", b"mac")]


def test_a_payload_is_passed_on_byte_for_byte() -> None:
    raw = '{"text": "\\u00e9 é   ", "unknown": [1, 2]}   '.encode()
    assert fed(b"event: some_new_event\ndata: " + raw + b"\n\n") == [Event("some_new_event", raw)]


def test_a_frame_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    frames = EventParser(limit=100)
    with pytest.raises(UpstreamFailed):
        for _ in range(20):
            frames.feed(b"data: " + b"x" * 50)
            frames.check()


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=repr)
@pytest.mark.parametrize("missing", [0, 1, 2], ids=["whole", "without its blank line", "without any line end"])
def test_the_last_frame_of_a_body_that_ends_is_whole_however_it_is_cut(line_end: bytes, missing: int) -> None:
    lines = [b"event: first", b"data: {}", b"", b"event: last", b'data: {"a":1}', b"", b""]
    stream = line_end.join(lines[:-missing] if missing else lines)
    for cut in range(len(stream) + 1):
        frames = EventParser()
        events = [*frames.feed(stream[:cut]), *frames.feed(stream[cut:]), *frames.end()]
        assert events == [Event("first", b"{}"), Event("last", b'{"a":1}')]


def test_a_body_that_ends_without_a_frame_gives_none() -> None:
    for rest in (b"", b"\n", b"\r", b": a comment", b"event: nothing\n"):
        frames = EventParser()
        assert [*frames.feed(rest), *frames.end()] == []
