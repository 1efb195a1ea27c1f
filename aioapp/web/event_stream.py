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


@dataclass(slots=True, kw_only=True, eq=False)
class EventStream:
    """`begun` says whether the response is under way: until then a failure can still be a plain HTTP error. `busy` is
    while something is being written: a lock would do the same at several times the cost."""

    request: web.Request
    response: web.StreamResponse = field(default_factory=lambda: web.StreamResponse(headers=HEADERS))
    last: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    beating: asyncio.Task[None] | None = None
    busy: bool = False

    @property
    def begun(self) -> bool:
        return self.response.prepared

    async def send(self, data: bytes) -> None:
        """Write `data` and wait until the caller takes it. One who does not is hung up on (see `Connection`)."""
        if self.busy:
            await self._turn()
        self.busy = True
        try:
            if not self.response.prepared:
                await self._begin()
            for start in range(0, len(data), PIECE):
                await self.response.write(data[start:start + PIECE])
                await self.request.writer.drain()  # aiohttp itself would wait only once twice as much is not taken
            self.last = asyncio.get_running_loop().time()
        finally:
            self.busy = False

    async def end(self, data: bytes = b"") -> None:
        """Write `data`, if any, as the last of the body."""
        if self.busy:
            await self._turn()
        self.busy = True
        try:
            await self._begin()
            await self.response.write_eof(data)
        finally:
            self.busy = False

    async def beat(self) -> None:
        """Write a comment: proxies cut silent connections after 60 s or so."""
        if not self.busy:
            await self.send(COMMENT)

    async def _turn(self) -> None:
        """Wait until the comment is written that is on its way: nothing else is written beside whoever answers."""
        while self.busy:
            assert self.beating is not None and not self.beating.done(), "only one may answer"
            await asyncio.wait({self.beating})

    async def _begin(self) -> None:
        if not self.begun:
            await self.response.prepare(self.request)


class Heartbeats:
    """Fills each silence of each stream with comments. One timer looks after all of them: a stream that is not silent
    costs nothing, and one that is gets a task for as long as it takes to write."""

    def __init__(self) -> None:
        self._streams: dict[EventStream, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def kept_alive(self, stream: EventStream, *, heartbeat: float) -> AsyncIterator[EventStream]:
        """Have a comment written in each silence of `heartbeat` seconds.

        A task does it, because waiting for the next event under a timeout would cancel, and so cut, the answer.
        """
        self._streams[stream] = heartbeat
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(stream.last + heartbeat, self._look)
        try:
            yield stream
        finally:
            del self._streams[stream]
            if (beating := stream.beating) is not None:
                beating.cancel()
                await asyncio.wait({beating})
                if not beating.cancelled() and not isinstance(beating.exception(), ConnectionError):
                    beating.result()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        now, due = loop.time(), []
        for stream, heartbeat in self._streams.items():
            if stream.busy or stream.last + heartbeat > now:
                due.append((now if stream.busy else stream.last) + heartbeat)
            elif stream.beating is None or (stream.beating.done() and stream.beating.exception() is None):
                stream.beating = loop.create_task(stream.beat())
                due.append(now + heartbeat)
        if due:
            self._timer = loop.call_at(min(due), self._look)


HEARTBEATS = web.AppKey("heartbeats", Heartbeats)


def hang_up(request: web.Request) -> None:
    """Cut the connection at once: closing it in order would wait for a reader that does not read."""
    if request.transport is not None:
        request.transport.abort()
