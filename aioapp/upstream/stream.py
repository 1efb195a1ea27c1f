"""Reads Claude's answer out of a response, in one piece or event by event, and never more than an answer can be."""
import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress

from aioapp.errors import AppError, UpstreamFailed
from aioapp.generation import Batch
from aioapp.messages.events import Event, Whole
from aioapp.upstream import error_mapping
from aioapp.messages.event_parser import EventParser
from aioapp.upstream.order import Order
from aioapp.upstream.transport import Broken, Response, Silent

LARGEST_ANSWER = 32 * 2**20
"""Bytes. The longest answers of Claude's take about half of it as events."""
SLICE = 2**14
"""Bytes that are made into events at a time: as such they take several times as much memory."""
LINGER = 0.2
"""Seconds to wait, after the last event, for the end of the body: a connection read to its end can be used again."""
LARGEST_END = 2**16
"""Bytes behind the last event that are read for that."""
TOO_LARGE = f"Claude's answer is larger than {LARGEST_ANSWER // 2**20} MiB."


def is_plain(response: Response) -> bool:
    """Whether the body came as it was written. We ask for no other (RFC 9110 §12.5.3) and unpack none: some explode."""
    return response.headers.get("content-encoding", "identity").strip().lower() in ("identity", "")


async def read_at_most(response: Response, limit: int) -> bytes:
    """The first `limit` bytes of an error's body, as far as they came: its status says enough."""
    pieces, left = [], limit
    with suppress(Silent, Broken):
        while left > 0 and (piece := await response.read()):
            pieces.append(piece)
            left -= len(piece)
    return b"".join(pieces)[:limit]


async def in_one_piece(response: Response) -> AsyncGenerator[Batch, None]:
    """The answer as one event. Raises `UpstreamFailed` where it is too large."""
    yield [Whole("message", await read_whole(response))]


async def read_whole(response: Response) -> bytes:
    """All of a body. Raises `UpstreamFailed` where it is too large."""
    pieces, left = [], LARGEST_ANSWER
    while piece := await response.read():
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise UpstreamFailed(TOO_LARGE)
    return b"".join(pieces)


async def streamed(response: Response) -> AsyncGenerator[Batch, None]:
    """The events of a stream in the order that `aioapp.messages.events` draws.

    Raises the error that says what was wrong with it, but not before what came ahead of that.
    """
    frames, order, left = EventParser(), Order(), LARGEST_ANSWER
    while data := await response.read():
        for piece in sliced(data):
            batch, failure = sound(frames.feed(piece), order)
            if batch:
                yield batch
            if failure is not None:
                raise failure
            if order.ended:
                break
            frames.check()
        if order.ended:
            await read_rest(response)
            return
        left -= len(data)
        if left < 0:
            raise UpstreamFailed(TOO_LARGE)
    batch, failure = sound(frames.end(), order)
    if batch:
        yield batch
    if failure is not None or not order.ended:
        raise failure or UpstreamFailed("Claude's answer ended in the middle.")


def sliced(data: bytes) -> Iterator[bytes]:
    return (data[start:start + SLICE] for start in range(0, len(data), SLICE))


def sound(batch: list[Event], order: Order) -> tuple[list[Event], AppError | None]:
    """The events that are an answer's and come in order, and what is wrong with the first that is not or does not."""
    names = [event.name for event in batch]
    if "message_stop" in names:
        names = names[:names.index("message_stop") + 1]  # the answer ends there, whatever follows in the same read
        batch = batch[:len(names)]
    errors = names.index("error") if "error" in names else len(names)
    fitting = order.fitting(names[:errors])
    if fitting < errors:
        return batch[:fitting], UpstreamFailed(f"Claude sent a {names[fitting]} event where none can be.")
    if errors < len(names):
        return batch[:errors], error_mapping.of_event(batch[errors])
    return batch, None


async def read_rest(response: Response) -> None:
    """Read to the end of the body, if that comes soon. Else the connection is closed, as it is with all that is left
    unread."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            await read_at_most(response, LARGEST_END)
