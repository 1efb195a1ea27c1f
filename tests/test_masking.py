"""Whether a caller's frames are masked is seen however they are cut."""
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aioapp.web.masking import Frames, Masked

LENGTHS = st.one_of(st.integers(0, 130), st.sampled_from([125, 126, 127, 65535, 65536, 70000]))


def frame(length: int, *, masked: bool) -> bytes:
    """RFC 6455 §5.2: a binary frame of so many bytes."""
    mark = 0x80 if masked else 0
    head = (bytes([mark | length]) if length < 126 else bytes([mark | 126]) + length.to_bytes(2, "big")
            if length < 2**16 else bytes([mark | 127]) + length.to_bytes(8, "big"))
    return b"\x82" + head + (b"\x01\x02\x03\x04" if masked else b"") + bytes(length)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)])]


@settings(deadline=None)
@given(lengths=st.lists(LENGTHS, min_size=1, max_size=5), broken=st.integers(0, 5), data=st.data())
def test_the_first_frame_that_is_not_masked_is_seen_and_no_other(
        lengths: list[int], broken: int, data: st.DataObject) -> None:
    sent = b"".join(frame(length, masked=index != broken) for index, length in enumerate(lengths))
    frames = Frames()
    seen = [frames.are_masked(piece) for piece in data.draw(cuts(sent))]
    assert all(seen) is (broken >= len(lengths))


def test_what_is_masked_goes_on_to_the_reader_and_what_is_not_does_not() -> None:
    class Reader:
        def __init__(self) -> None:
            self.fed: list[Any] = []

        def feed_data(self, data: bytes) -> tuple[bool, bytes]:
            self.fed.append(data)
            return False, b""

        def feed_eof(self) -> None:
            self.fed.append(None)

    reader, refused = Reader(), list[bool]()
    masked = Masked(reader, refuse=lambda: refused.append(True))
    assert masked.feed_data(frame(3, masked=True)) == (False, b"") and not refused
    masked.feed_eof()
    assert masked.feed_data(frame(3, masked=False)) == (True, b"") and refused
    assert reader.fed == [frame(3, masked=True), None]
