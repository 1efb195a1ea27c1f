"""Server-sent events out of a byte stream, split by hand.

The rules are those of the HTML standard, §9.2.6 (https://html.spec.whatwg.org/multipage/server-sent-events.html), less
what the Messages API has no use for: `id` and `retry` are passed over.
"""
import re

from aioapp.errors import UpstreamFailed
from aioapp.events import Event

BOM = b"\xef\xbb\xbf"
USUAL = re.compile(rb"event: ([a-z_]+)\ndata: ([^\n]*)\n\n")
USUAL_FRAME = len(b"event: \ndata: \n\n")


class Frames:
    """Takes bytes as they come and gives the events that they complete.

    `limit` is the largest frame in bytes; a longer one raises `UpstreamFailed`, so that a broken upstream cannot fill
    the memory.
    """

    __slots__ = ("_begun", "_limit", "_rest")

    def __init__(self, *, limit: int = 16 * 2**20) -> None:
        self._limit = limit
        self._rest = b""
        self._begun = False

    def feed(self, data: bytes) -> list[Event]:
        data = self._rest + data
        if not self._begun:
            data = self._begin(data)
        if b"\r" in data:
            data = with_plain_ends(data)
        end = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
        self._rest = data[end:]
        if len(self._rest) > self._limit:
            raise UpstreamFailed("Claude sent an event that has no end.")
        return events_in(data[:end])

    def _begin(self, data: bytes) -> bytes:
        """A stream may begin with a byte order mark, which may come in pieces like everything else."""
        self._begun = not BOM.startswith(data)
        return data.removeprefix(BOM) if self._begun else data


def with_plain_ends(data: bytes) -> bytes:
    """LF for every kind of line end. A CR at the very end may be half of a CRLF, so it waits for the next read."""
    tail = b"\r" if data.endswith(b"\r") else b""
    return data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail


def events_in(data: bytes) -> list[Event]:
    """The events of complete frames. Claude's are of two lines each, which one pass of a pattern reads."""
    found = USUAL.findall(data)
    if sum([len(name) + len(raw) for name, raw in found]) + len(found) * USUAL_FRAME == len(data):
        return [Event(name.decode(), raw) for name, raw in found]
    return [event for block in data.split(b"\n\n") if (event := parse(block)) is not None]


def parse(block: bytes) -> Event | None:
    """The event of one block of lines, or None where it holds no data (a comment, say)."""
    name, data = b"message", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"event":
                name = value
            case b"data":
                data.append(value)
    return Event(name.decode(errors="replace"), b"\n".join(data)) if data else None
