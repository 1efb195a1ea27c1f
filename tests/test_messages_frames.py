"""Frames of a stream as bytes: nothing is lost of them, however they are spelled and however they arrive."""
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.errors import UpstreamFailed
from aioapp.messages.meter import Meter
from aioapp.messages.event_parser import BOM, EventParser
from aioapp.messages.events import Event
from aioapp.messages.frames import BOUNDARY, TOLD, Frames, FrameSplitter, wire_of
from tests.test_messages_event_parser import apart
from tests.upstreams import BLOCK, END, START, delta, frame, stream_of

ENDS = (b"\n", b"\r\n", b"\r")
ODD = (b": a comment\n\n", b"data: no name\n\n", b"event: unheard_of\ndata: {}  \n\n", b"event: ping\ndata:{}\n\n",
       b"id: 7\nretry: 10\nevent: message_delta\ndata: {\ndata: }\n\n", b"\n\n\n", frame("error", error={"type": "x"}))
USUAL = (START, BLOCK, delta("Hello"), delta("message_ error \u2028"), END)
spelled = st.builds(
    lambda parts, end, bom, whole: (BOM if bom else b"") + (
        b"".join(parts) if whole else b"".join(parts).rstrip(b"\n")).replace(b"\n", end),
    st.lists(st.sampled_from((*ODD, *USUAL)), min_size=1, max_size=8), st.sampled_from(ENDS), st.booleans(),
    st.booleans())


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    found: list[bytes] = []
    start = 0
    while start < len(data):
        size = sizes[len(found) % len(sizes)]
        found.append(data[start:start + size])
        start += size
    return found


def split(data: bytes, sizes: list[int]) -> list[bytes]:
    splitter = FrameSplitter()
    return [wire for wire in (*map(splitter.feed, pieces(data, sizes)), splitter.end()) if wire]


@given(data=spelled, sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_what_comes_out_is_what_came_in_and_tells_the_same(data: bytes, sizes: list[int]) -> None:
    wires = split(data, sizes)
    assert b"".join(wires) == data
    parser = EventParser()
    events = [event for event in [*parser.feed(data), *parser.end()] if event.name in TOLD]
    assert [event for wire in wires for event in Frames(wire)] == events


@given(data=spelled, sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_what_is_written_between_two_pieces_stands_between_two_frames(data: bytes, sizes: list[int]) -> None:
    *wires, last = split(data, sizes) or [b""]
    ours = b"event: ours\ndata: {}\n\n"
    parser = EventParser()
    told = [event for wire in wires for event in parser.feed(wire + ours)] + parser.feed(last) + parser.end()
    plain = EventParser()
    assert apart([event for event in told if event.name != "ours"]) == apart([*plain.feed(data), *plain.end()])


def test_trap_1_one_line_end_is_never_taken_for_two() -> None:
    assert BOUNDARY.search(b"data: a\r\ndata: b\r\n") is None
    spans = [found.span() for found in BOUNDARY.finditer(b"a\r\n\r\nb\r\rc\n\nd\n\re")]
    assert spans == [(1, 5), (6, 8), (9, 11), (12, 14)]
    assert split(b"data: a\r\ndata: b\r\n\r\n", [1]) == [b"data: a\r\ndata: b\r\n\r", b"\n"]


def test_trap_2_a_last_frame_without_its_blank_line_is_a_frame() -> None:
    data = stream_of("Hello").rstrip(b"\n")
    assert b"".join(split(data, [7])) == data
    assert split(data, [10_000])[-1].startswith(b"event: message_stop")
    parser = EventParser()
    assert [event.name for event in [*parser.feed(data), *parser.end()]][-1] == "message_stop"


def test_a_comment_alone_is_passed_on_and_tells_nothing() -> None:
    [wire] = split(b": still here\n\n", [5])
    assert (wire, list(Frames(wire))) == (b": still here\n\n", [])


def test_a_frame_that_does_not_end_is_refused_before_it_fills_the_memory() -> None:
    splitter = FrameSplitter(limit=1000)
    with pytest.raises(UpstreamFailed):
        for _ in range(100):
            splitter.feed(b"data: " + b"x" * 100)


def test_a_frame_in_thousands_of_pieces_is_looked_through_once() -> None:
    splitter, size = FrameSplitter(), 2**20
    for _ in range(size // 64):
        assert splitter.feed(b"x" * 64) == b""
    assert len(splitter.feed(b"\n\n")) == size + 2


def test_events_that_did_not_come_as_bytes_are_written_as_a_stream_has_them() -> None:
    events = [Event("ping", b'{"type": "ping"}'), Event("message_stop", b"{}")]
    assert re.fullmatch(rb"event: ping\ndata: \{.*\}\n\nevent: message_stop\ndata: \{\}\n\n", wire_of(events))
    assert wire_of(Frames(b": odd\r\r")) == b": odd\r\r"


def test_what_is_written_and_not_yet_counted_is_guessed_from_the_bytes() -> None:
    text = "word " * 20
    meter, plain = Meter(), Meter()
    meter.see(Frames(START + BLOCK + delta(text) * 50))
    plain.see(EventParser().feed(START + BLOCK + delta(text) * 50))
    assert abs(meter._uncounted - plain._uncounted) < 50 * 40
    meter.see(Frames(END))
    assert meter._uncounted == 0 and meter.usage.output_tokens == 5


def test_trap_3_the_meter_looks_and_never_judges() -> None:
    meter = Meter()
    meter.see(Frames(b"event: message_start\ndata: nonsense\n\n" + START + b"event: message_delta\ndata: 5\n\n"))
    assert meter.usage.input_tokens == 7 and meter.model == "claude-sonnet-5-5"
