"""Server-sent events out of a byte stream, split by hand.

The rules are those of the HTML standard, §9.2.6 (https://html.spec.whatwg.org/multipage/server-sent-events.html), less
what the Messages API has no use for: `id` and `retry` are passed over.
"""
import re

from aioapp.errors import UpstreamFailed
from aioapp.messages.events import Deltas, Event

BOM = b"\xef\xbb\xbf"
MOST_LINES = 1000
"""Of one event. Claude's have two; what comes after so many is not taken apart."""
USUAL = re.compile(rb"event: ([a-z_]+)\ndata: ([^\n]*)\n\n")
NAMES = {name.encode(): name for name in (
    "content_block_delta", "content_block_start", "content_block_stop", "message_start", "message_delta",
    "message_stop", "ping")}
USUAL_FRAME = len(b"event: \ndata: \n\n")
DELTA = "content_block_delta"
PLAIN = rb'[^"\\\x00-\x1f\x80-\xff]+'
DELTA_FRAME = (
    rb'event: content_block_delta\ndata: \{"type": ?"content_block_delta", ?"index": ?%s, ?'
    rb'"delta": ?\{"type": ?"text_delta", ?"text": ?"%s"\} *\}\n\n')
"""A piece of text as Claude writes it, if nothing in it is escaped or needs a look: most pieces are like that."""
FIRST, NEXT = DELTA_FRAME % (rb"(0|[1-9][0-9]{0,3})", rb"(%b)" % PLAIN), DELTA_FRAME % (rb"\1", PLAIN)
RUN = re.compile(rb"(?:\A|(?<=\n\n))%b((?:%b)*+)" % (FIRST, NEXT))
TEXT = re.compile(r'"text": ?"([^"]+)"')
"""Of such a frame: there is no other quotation mark behind the word."""


class EventParser:
    """Takes bytes as they come and gives the events that they complete.

    `limit` is the largest frame in bytes: once one is longer, `check` raises `UpstreamFailed`.
    """

    __slots__ = ("_begun", "_held", "_limit", "_rest")

    def __init__(self, *, limit: int = 16 * 2**20) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._held = b""
        self._begun = False

    def feed(self, data: bytes) -> list[Event]:
        if self._held:
            data, self._held = self._held + data, b""
        if not self._begun:
            data = self._begin(data)
        if b"\r" in data:
            data, self._held = with_plain_ends(data)
        if not self._rest and data.endswith(b"\n\n"):  # as most reads are
            return batch_in(data)
        # Looked for only in what is new: a frame may come in thousands of pieces.
        looked = max(0, len(self._rest) - 1)
        self._rest += data
        end = self._rest.rfind(b"\n\n", looked) + 2
        if end < 2:
            return []
        complete = bytes(self._rest[:end])
        del self._rest[:end]
        return batch_in(complete)

    def end(self) -> list[Event]:
        """No more comes: the last frame is whole, though a blank line may be missing behind it.

        Only a body that has ended in order says so; one that was cut has not.
        """
        rest = bytes(self._rest).rstrip(b"\n")
        self._rest.clear()
        return batch_in(rest + b"\n\n") if rest else []

    def check(self) -> None:
        """Raises `UpstreamFailed` for a frame that would fill the memory. What came before it has been given."""
        if len(self._rest) > self._limit:
            raise UpstreamFailed("Claude sent an event that has no end.")

    def _begin(self, data: bytes) -> bytes:
        """A stream may begin with a byte order mark, which may come in pieces like everything else."""
        self._begun = not BOM.startswith(data)
        if self._begun:
            return data.removeprefix(BOM)
        self._held = data
        return b""


def with_plain_ends(data: bytes) -> tuple[bytes, bytes]:
    """LF for every kind of line end, and what must wait: a CR at the very end may be half of a CRLF."""
    tail = b"\r" if data.endswith(b"\r") else b""
    return data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n"), tail


def batch_in(data: bytes) -> list[Event]:
    """The events of complete frames, in which plain deltas of text that follow one another are one `Deltas`."""
    events: list[Event] = []
    begin, found = 0, RUN.fullmatch(data)
    for run in RUN.finditer(data) if found is None else (found,):
        start, end = run.span()
        if begin < start:
            events += events_in(data[begin:start])
        frames, block, text, more = run.group(0, 1, 2, 3)
        deltas = tuple.__new__(Deltas, (DELTA, frames))
        deltas.block = int(block)
        deltas.texts = TEXT.findall(frames.decode("ascii")) if more else [text.decode("ascii")]
        events.append(deltas)
        begin = end
    return events + events_in(data[begin:]) if begin < len(data) else events


def events_in(data: bytes) -> list[Event]:
    """The events of complete frames. Claude's are of two lines each, which one pass of a pattern reads."""
    found = USUAL.findall(data)
    if sum([len(name) + len(raw) for name, raw in found]) + len(found) * USUAL_FRAME == len(data):
        make, names = tuple.__new__, NAMES  # what Event() does, less a call of ours
        return [make(Event, (names.get(name) or name.decode(), raw)) for name, raw in found]
    return [event for block in data.split(b"\n\n") if (event := parse(block)) is not None]


def parse(block: bytes) -> Event | None:
    """The event of one block of lines, or None where it holds no data (a comment, say)."""
    name, data = b"message", []
    for line in block.split(b"\n", MOST_LINES):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"event":
                name = value
            case b"data":
                data.append(value)
    return Event(name.decode(errors="replace"), b"\n".join(data)) if data else None
