"""Looks at the heads of a caller's WebSocket frames, for what aiohttp's reader lets pass (RFC 6455 §5)."""
from collections.abc import Callable
from typing import Protocol

from aioapp.errors import AppError, BadRequest, Unauthorized
from aioapp.web.bounds import INTRODUCTION, LARGEST_INTRODUCTION

FIN, CONTROL = 0x80, 0x08
"""Bits of a head's first byte: the last frame of a message, and a frame that is none of a message's."""
MASKED, LENGTH = 0x80, 0x7F
"""Bits of its second byte."""
FURTHER = {126: 2, 127: 8}
"""Bytes of the length, where it does not fit the second byte (RFC 6455 §5.2)."""
KEY = 4
MOST_FRAMES = 1000
"""In one read: there may be tens of thousands, and the event loop would turn to nobody else before the last."""
MOST_CONTROLS = 16
"""Pings and the like in one read: each is answered at once."""


class Reader(Protocol):
    """What a connection feeds with all that comes after a handshake; aiohttp's `WebSocketReader` is one."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]: ...

    def feed_eof(self) -> None: ...


class Guarded:
    """Passes on to `reader` what is as it must be, and calls `refuse` at the first that is not."""

    __slots__ = ("_heads", "_reader", "_refuse")

    def __init__(self, reader: Reader, *, heads: "Heads", refuse: Callable[[AppError], None]) -> None:
        self._reader = reader
        self._refuse = refuse
        self._heads = heads

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        wrong = self._heads.wrong_in(data)
        if wrong is None:
            return self._reader.feed_data(data)
        self._refuse(wrong)
        return True, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class Heads:
    """Follows frames by their heads alone; what is in them is passed over.

    `first` is how many bytes the first message may have, its fragments together; None without a bound. `whole` is
    whether no message is under way.
    """

    __slots__ = ("_begun", "_left", "_rest", "first")

    def __init__(self) -> None:
        self.first: int | None = None
        self._rest = b""
        self._left = 0
        self._begun = False

    @property
    def whole(self) -> bool:
        return not (self._left or self._rest or self._begun)

    def wrong_in(self, data: bytes) -> AppError | None:
        """Why the socket must be broken off, most often None."""
        data = self._rest + data
        at = frames = controls = 0
        while (at := at + self._passed(len(data) - at)) + 2 <= len(data):
            first, second = data[at], data[at + 1]
            if not second & MASKED:
                return BadRequest("A caller masks its frames (RFC 6455 §5.1).")
            length, size = second & LENGTH, 2 + FURTHER.get(second & LENGTH, 0) + KEY
            if at + size > len(data):
                break
            if size > 2 + KEY:
                length = int.from_bytes(data[at + 2:at + size - KEY], "big")
            at, self._left = at + size, length
            frames, controls = frames + 1, controls + bool(first & CONTROL)
            if frames > MOST_FRAMES or controls > MOST_CONTROLS:
                return BadRequest("Too many frames at once.")
            if not first & CONTROL and (wrong := self._message(length, ends=bool(first & FIN))):
                return wrong
        self._rest = data[at:]
        return None

    def _message(self, length: int, *, ends: bool) -> AppError | None:
        """A frame of a message begins: the last one, if it `ends`."""
        self._begun = not ends
        if self.first is not None:
            self.first -= length
            if self.first < 0:
                return Unauthorized(f"{INTRODUCTION} It has at most {LARGEST_INTRODUCTION} bytes.")
            if ends:
                self.first = None
        return None

    def _passed(self, size: int) -> int:
        """How many of the next bytes belong to the frame under way."""
        passed = min(self._left, size)
        self._left -= passed
        return passed
