"""Server-sent events out of a byte stream, split by hand.

The rules are those of the HTML standard, §9.2.6 (https://html.spec.whatwg.org/multipage/server-sent-events.html), less
what the Messages API has no use for: `id` and `retry` are passed over.
"""
from aioapp.errors import UpstreamFailed
from aioapp.events import Event

BOM = b"\xef\xbb\xbf"


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
        *blocks, self._rest = data.split(b"\n\n")
        if len(self._rest) > self._limit:
            raise UpstreamFailed("Claude sent an event that has no end.")
        return [event for block in blocks if (event := parse(block)) is not None]

    def _begin(self, data: bytes) -> bytes:
        """A stream may begin with a byte order mark, which may come in pieces like everything else."""
        self._begun = not BOM.startswith(data)
        return data.removeprefix(BOM) if self._begun else data


def with_plain_ends(data: bytes) -> bytes:
    """LF for every kind of line end. A CR at the very end may be half of a CRLF, so it waits for the next read."""
    tail = b"\r" if data.endswith(b"\r") else b""
    return data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail


def parse(block: bytes) -> Event | None:
    """The event of one block of lines, or None where it holds no data (a comment, say)."""
    head, found, raw = block.partition(b"\ndata: ")
    if found and head.startswith(b"event: ") and b"\n" not in head and b"\n" not in raw:
        return Event(head[7:].decode(), raw)
    return parse_any(block)


def parse_any(block: bytes) -> Event | None:
    """The same for a block that is not of the usual two lines."""
    name, data = b"message", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"event":
                name = value
            case b"data":
                data.append(value)
    if not data:
        return None
    return Event(name.decode(errors="replace"), b"\n".join(data))
