"""What is wrong with a caller's frames is seen however they are cut."""
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aioapp.errors import AppError, BadRequest, Unauthorized
from aioapp.web.server.masking import MOST_CONTROLS, MOST_FRAMES, Guarded, Heads

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
    heads = Heads()
    seen = []
    for piece in data.draw(cuts(sent)):
        seen.append(heads.wrong_in(piece))
        if seen[-1] is not None:
            break
    assert (seen[-1] is None) is (broken >= len(lengths))
    assert heads.whole or broken < len(lengths)


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=4), data=st.data())
def test_a_first_message_is_bounded_with_all_its_fragments_and_no_later_one(
        lengths: list[int], data: st.DataObject) -> None:
    fragments = [bytes([0 if index else 2]) + frame(length, masked=True)[1:] for index, length in enumerate(lengths)]
    last = b"\x80" + frame(7, masked=True)[1:]
    heads = Heads()
    heads.first = 4096
    pieces = data.draw(cuts(b"".join(fragments) + last + frame(70_000, masked=True)))
    wrong = [error for piece in pieces if (error := heads.wrong_in(piece))]
    assert [type(error) for error in wrong[:1]] == ([Unauthorized] if sum(lengths) + 7 > 4096 else [])


def test_of_small_frames_only_so_many_are_taken_in_one_read() -> None:
    ping, text = b"\x89\x80\0\0\0\0", b"\x81\x80\0\0\0\0"
    assert Heads().wrong_in(ping * MOST_CONTROLS) is None
    assert isinstance(Heads().wrong_in(ping * (MOST_CONTROLS + 1)), BadRequest)
    assert Heads().wrong_in(text * MOST_FRAMES) is None
    assert isinstance(Heads().wrong_in(text * 2**17), BadRequest)
    heads = Heads()
    assert not any(heads.wrong_in(ping) for _ in range(1000))


def test_what_is_right_goes_on_to_the_reader_and_what_is_not_does_not() -> None:
    class Reader:
        def __init__(self) -> None:
            self.fed: list[Any] = []

        def feed_data(self, data: bytes) -> tuple[bool, bytes]:
            self.fed.append(data)
            return False, b""

        def feed_eof(self) -> None:
            self.fed.append(None)

    reader, refused = Reader(), list[AppError]()
    guarded = Guarded(reader, heads=Heads(), refuse=refused.append)
    assert guarded.feed_data(frame(3, masked=True)) == (False, b"") and not refused
    guarded.feed_eof()
    assert guarded.feed_data(frame(3, masked=False)) == (True, b"") and refused
    assert reader.fed == [frame(3, masked=True), None]
