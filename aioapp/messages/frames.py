"""A stream's frames as bytes, for whoever passes Claude's answer on as it came."""
import re
from collections.abc import Sequence
from typing import overload

from aioapp.errors import UpstreamFailed
from aioapp.messages.event_parser import BOM, events_in, with_plain_ends
from aioapp.messages.events import Deltas, Event

TOLD = frozenset({"message_start", "message_delta", "error"})
"""The events that are looked for: those that say what an answer is and took, and the one that ends it early."""
AROUND_DELTA = 116
"""Bytes of a frame around the text of a delta."""
BOUNDARY = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
"""Atomic: a CRLF alone must not be taken for two line ends."""


class Frames(Sequence[Event]):
    """Whole frames, byte for byte as they came: `wire`. As a sequence, the events among them that are `TOLD`.

    They are taken out of the bytes when somebody asks for them. An answer in one piece is given with its one event.
    """

    __slots__ = ("_events", "wire")

    def __init__(self, wire: bytes, *, events: Sequence[Event] | None = None) -> None:
        self.wire = wire
        self._events = events

    @property
    def written(self) -> int:
        """About how many bytes of text the deltas hold."""
        deltas = self.wire.count(b"content_block_delta") // 2
        return max(deltas, len(self.wire) - AROUND_DELTA * deltas) if deltas else 0

    def __len__(self) -> int:
        return len(self._told())

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return self._told()[index]

    def _told(self) -> Sequence[Event]:
        if self._events is None:
            found = told_in(self.wire) if b"message_" in self.wire or b"error" in self.wire else ()
            self._events = found
        return self._events


def told_in(wire: bytes) -> list[Event]:
    plain, end = with_plain_ends(wire.removeprefix(BOM))
    plain += b"\n" if end else b""
    return [event for event in events_in(plain.rstrip(b"\n") + b"\n\n") if event.name in TOLD]


def wire_of(batch: Sequence[Event]) -> bytes:
    """The batch as bytes of a stream: as it came, if that is known."""
    if isinstance(batch, Frames):
        return batch.wire
    return b"".join([event.raw if type(event) is Deltas else
                     b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.raw) for event in batch])


class FrameSplitter:
    """Takes bytes as they come, and gives those of the frames that they complete.

    `limit` is the largest frame in bytes: once one is longer, `feed` raises `UpstreamFailed`.
    """

    __slots__ = ("_limit", "_rest")

    def __init__(self, *, limit: int = 16 * 2**20) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Whole frames, or nothing."""
        rest = self._rest
        looked = max(0, len(rest) - 3)  # only in what is new, and where a boundary may have begun before it
        rest += data
        end = rest.rfind(b"\n\n", looked) + 2
        if b"\r" in data or b"\r" in rest[looked:looked + 3]:
            end = max([end, *[found.end() for found in BOUNDARY.finditer(rest, looked)]])
        if end < 2:
            if len(rest) > self._limit:
                raise UpstreamFailed("Claude sent an event that has no end.")
            return b""
        whole = bytes(rest[:end])
        del rest[:end]
        return whole

    def end(self) -> bytes:
        """No more comes: what is left is a frame, though the blank line behind it is missing."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest
