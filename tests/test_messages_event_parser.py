"""Server-sent events out of a byte stream."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.errors import UpstreamFailed
from aioapp.messages.events import Deltas, Event, payload
from aioapp.messages.event_parser import EventParser, batch_in, events_in
from tests.upstreams import BLOCK, END, START, delta, frame

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


BLANKS = (b'"index": 0', b'"index":0')
USUAL = (delta("word "), delta("one"), delta("two").replace(*BLANKS), delta("padded").replace(b"}}", b"}   }"))
UNUSUAL = (START, BLOCK, END, delta(""), delta("a\nb"), delta('"'), delta("\u2028"), delta("x").replace(b"0", b"01"),
           delta("y").replace(b"0", b"1"), b": a comment\n\n", b"data: two\ndata: lines\n\n", b"data: {}\n", b"\n",
           frame("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"}))


def apart(events: list[Event]) -> list[Event]:
    """The events, of which no two are one."""
    return [one for event in events for one in (events_in(event.raw) if type(event) is Deltas else (event,))]


@given(st.lists(st.sampled_from((*USUAL * 3, *UNUSUAL)), max_size=20))
def test_deltas_that_run_together_say_what_each_of_them_says(frames: list[bytes]) -> None:
    data = b"".join(frames) + b"\n\n"
    events = batch_in(data)
    assert apart(events) == events_in(data)
    for run in events:
        if type(run) is Deltas:
            said = [payload(event) for event in events_in(run.raw)]
            assert [delta["delta"] for delta in said] == [{"type": "text_delta", "text": text} for text in run.texts]
            assert {delta["index"] for delta in said} == {run.block}


def test_plain_deltas_of_one_block_that_follow_one_another_run_together() -> None:
    other = delta("there").replace(b"0", b"1")
    events = batch_in(START + BLOCK + b"".join(USUAL) * 500 + other + delta("a\nb") + delta("c"))
    assert [event.name for event in events] == ["message_start", "content_block_start", *["content_block_delta"] * 4]
    assert [event.texts if type(event) is Deltas else None for event in events] == [
        None, None, ["word ", "one", "two", "padded"] * 500, ["there"], None, ["c"]]


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
