"""What is encoded quickly is what is encoded plainly, and a frame is one of RFC 6455."""
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from aioapp.web import answers
from aioapp.web.operations.socket_frames import deltas, encoded, text_frame
from aioapp.web.operations.sse import delta_event, object_event

TEXT = st.text() | st.sampled_from(["\u2028\u2029\x85", '"\\\n\x00\x7f', "é", "\U0001f600"])


@given(text=TEXT, id=st.none() | TEXT)
def test_a_delta_is_encoded_as_any_other_object(text: str, id: str | None) -> None:
    frame = {"type": "delta", "text": text}
    assert deltas([text, text], id) == [encoded(frame, id)] * 2
    assert delta_event(text) == object_event("delta", frame)
    assert answers.encode_text(text) == answers.encode({"x": text})[5:-1]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 2**16 - 1, 2**16, 2**17])
def test_a_frame_of_any_size_is_a_whole_message_of_text(size: int) -> None:
    reader = StreamReader()
    reader.feed_data(text_frame(b"x" * size) + text_frame(b"end"))
    assert [read(reader), read(reader)] == [Frame(Opcode.TEXT, b"x" * size), Frame(Opcode.TEXT, b"end")]


def read(reader: StreamReader) -> Frame:
    parsing = Frame.parse(reader.read_exact, mask=False, max_size=None)
    with pytest.raises(StopIteration) as end:
        next(parsing)
    frame: Frame = end.value.value
    return frame
