"""Sees whether a caller masks its WebSocket's frames, as it must (RFC 6455 §5.1): aiohttp takes them either way."""
from collections.abc import Callable
from typing import Protocol

MASKED = 0x80
LENGTH = 0x7F
FURTHER = {126: 2, 127: 8}
"""Bytes of the length, where it does not fit the second byte (RFC 6455 §5.2)."""
KEY = 4


class Reader(Protocol):
    """What a connection feeds with all that comes after a handshake; aiohttp's `WebSocketReader` is one."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]: ...

    def feed_eof(self) -> None: ...


class Masked:
    """Passes on to `reader` what is masked, and calls `refuse` at the first frame that is not."""

    __slots__ = ("_frames", "_reader", "_refuse")

    def __init__(self, reader: Reader, *, refuse: Callable[[], None]) -> None:
        self._reader = reader
        self._refuse = refuse
        self._frames = Frames()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if self._frames.are_masked(data):
            return self._reader.feed_data(data)
        self._refuse()
        return True, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class Frames:
    """Follows frames by their heads alone; what is in them is passed over."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    def are_masked(self, data: bytes) -> bool:
        """Whether all frames that begin in `data`, which follows what was looked at before, are masked."""
        at, size = 0, len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            self._head.append(data[at])
            at += 1
            if len(self._head) == 2 and not self._head[1] & MASKED:
                return False
            self._take_head()
        return True

    def _take_head(self) -> None:
        head = self._head
        further = FURTHER.get(head[1] & LENGTH, 0) if len(head) > 1 else 0
        if len(head) == 2 + further + KEY:
            self._left = int.from_bytes(head[2:2 + further], "big") if further else head[1] & LENGTH
            head.clear()
