"""A response body of server-sent events that is kept alive, and that tells a failure where it still can."""
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
COMMENT = b": still here\n\n"
PIECE = 2**16
"""Bytes that are written at a time."""


@dataclass(slots=True, kw_only=True)
class EventStream:
    """`begun` says whether the response is under way: until then a failure can still be a plain HTTP error."""

    request: web.Request
    response: web.StreamResponse = field(default_factory=lambda: web.StreamResponse(headers=HEADERS))
    last: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def begun(self) -> bool:
        return self.response.prepared

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._writing.locked()

    async def send(self, data: bytes) -> None:
        """Write `data` and wait until the caller takes it. One who does not is hung up on (see `Connection`)."""
        async with self._writing:
            await self._begin()
            for start in range(0, len(data), PIECE):
                await self.response.write(data[start:start + PIECE])
                await self.request.writer.drain()  # aiohttp itself would wait only once twice as much is not taken
            self.last = asyncio.get_running_loop().time()

    async def end(self, data: bytes = b"") -> None:
        """Write `data`, if any, as the last of the body."""
        async with self._writing:
            await self._begin()
            await self.response.write_eof(data)

    async def _begin(self) -> None:
        if not self.begun:
            await self.response.prepare(self.request)


def hang_up(request: web.Request) -> None:
    """Cut the connection at once: closing it in order would wait for a reader that does not read."""
    if request.transport is not None:
        request.transport.abort()


@asynccontextmanager
async def kept_alive(events: EventStream, *, heartbeat: float) -> AsyncIterator[EventStream]:
    """Fill each silence of `heartbeat` seconds with a comment: proxies cut silent connections after 60 s or so.

    A task of its own does it, because waiting for the next event under a timeout would cancel, and so cut, the answer.
    """
    beating = asyncio.create_task(beat(events, heartbeat))
    try:
        yield events
    finally:
        beating.cancel()
        await asyncio.wait({beating})
        if not beating.cancelled() and not isinstance(beating.exception(), ConnectionError):
            beating.result()


async def beat(events: EventStream, heartbeat: float) -> None:
    now = asyncio.get_running_loop().time
    while True:
        silence = 0.0 if events.busy else now() - events.last
        if silence >= heartbeat:
            await events.send(COMMENT)
        else:
            await asyncio.sleep(heartbeat - silence)
