"""Reads Claude's answer out of a response, in one piece or event by event, and never more than an answer can be."""
import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress

import aiohttp

from aioapp.errors import AppError, UpstreamFailed
from aioapp.events import Event
from aioapp.generation import Batch
from aioapp.upstream import failures
from aioapp.upstream.frames import Frames
from aioapp.upstream.order import Order

LARGEST_ANSWER = 32 * 2**20
"""Bytes. The longest answers of Claude's take about half of it as events."""
SLICE = 2**13
"""Bytes that are made into events at a time: as such they take several times as much memory."""
LINGER = 0.2
"""Seconds to wait, after the last event, for the end of the body: a connection read to its end can be used again."""
LARGEST_END = 2**16
"""Bytes behind the last event that are read for that."""
TOO_LARGE = f"Claude's answer is larger than {LARGEST_ANSWER // 2**20} MiB."


def check_encoding(response: aiohttp.ClientResponse) -> None:
    """Raises `UpstreamFailed` for an answer that is packed, which was not asked for: it could unpack to anything."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UpstreamFailed("Claude's answer is compressed, which was not asked for.")


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The first `limit` bytes of the body, or all of it."""
    pieces, left = [], limit
    while left > 0 and (piece := await response.content.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    body = await read_at_most(response, LARGEST_ANSWER + 1)
    if len(body) > LARGEST_ANSWER:
        raise UpstreamFailed(TOO_LARGE)
    return body


async def streamed(response: aiohttp.ClientResponse) -> AsyncGenerator[Batch, None]:
    """The events of a stream in the order that `aioapp.events` draws, or the error that says what was wrong, but not
    before what came ahead of it."""
    frames, order, left = Frames(), Order(), LARGEST_ANSWER
    while data := await response.content.readany():
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
        return batch[:errors], failures.of_event(batch[errors])
    return batch, None


async def read_rest(response: aiohttp.ClientResponse) -> None:
    """Read to the end of the body, if that comes soon. Else the connection is closed, as it is with all that is left
    unread."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(LINGER):
            await read_at_most(response, LARGEST_END)
