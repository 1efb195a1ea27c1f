"""What is said on one open socket: frames in, generations side by side, frames out."""
import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

from aioapp import errors
from aioapp.web import REQUEST_ID, SERVICES, wire
from aioapp.web.event_stream import hang_up
from aioapp.web.failures import as_app_error
from aioapp.web.operation import Exchange, Operation, exchange
from aioapp.web.schemas import decoded, row

MOST_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a frame asks: to cancel what runs under `id`, or to answer `operation` with `body`."""

    id: str | None
    cancel: bool = False
    stream: bool = False
    operation: Operation | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


Understand = Callable[[Mapping[str, Any]], Asked]


@dataclass(slots=True, eq=False)
class Run:
    """A generation under way. Once `ended`, its last frame is on its way and nothing can stop it."""

    id: str | None
    task: asyncio.Task[None] | None = None
    cancelled: bool = False
    ended: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Talk:
    """Leaving it stops what still runs."""

    request: web.Request
    socket: "web.WebSocketResponse[bool]"
    understand: Understand
    _runs: set[Run] = field(default_factory=set)
    _count: int = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        tasks = [run.task for run in self._runs if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def idle(self) -> bool:
        """Whether no generation runs."""
        return not self._runs

    async def listen(self) -> None:
        """Take frames until the socket closes."""
        async for message in self.socket:
            if message.type is WSMsgType.ERROR:
                return
            frame: object = None
            try:
                frame = read(message.type, message.data)
                self._take(self.understand(frame))
                # A task that is cancelled before its first step would end without its last frame.
                await asyncio.sleep(0)
            except errors.AppError as error:
                await self._send(wire.problem(error), id_of(frame))

    def _take(self, asked: Asked) -> None:
        if asked.cancel:
            return self._cancel(asked.id)
        if len(self._runs) >= MOST_AT_ONCE:
            raise errors.BadRequest(f"At most {MOST_AT_ONCE} generations can run on a socket at once.")
        if asked.id is not None and self._find(asked.id):
            raise errors.BadRequest("A generation with this id is still running.")
        run = Run(asked.id)
        run.task = asyncio.create_task(self._run(run, asked))
        self._runs.add(run)

    def _cancel(self, id: str | None) -> None:
        run = self._find(id) if id is not None else None
        if run is None or run.ended or run.task is None:
            raise errors.BadRequest("No generation with this id is running.")
        run.cancelled = True
        run.task.cancel()

    def _find(self, id: str) -> Run | None:
        return next((run for run in self._runs if run.id == id), None)

    async def _run(self, run: Run, asked: Asked) -> None:
        """Answer one request, whatever happens, with one last frame; a caller who has gone needs none."""
        try:
            last = await self._last_frame(run, asked)
            run.ended = True
            await self._send(last, run.id)
        except ConnectionError:
            return
        finally:
            self._runs.discard(run)

    async def _last_frame(self, run: Run, asked: Asked) -> wire.Object:
        try:
            exchanged = self._exchange(asked)
            return await (self._streamed(exchanged, run.id) if asked.stream else exchanged.whole())
        except ConnectionError:
            raise
        except Exception as error:
            return wire.problem(as_app_error(error, debug=self.request.app[SERVICES].debug))
        except asyncio.CancelledError:
            if not run.cancelled:
                raise
            return wire.problem(errors.Cancelled())

    async def _streamed(self, exchanged: Exchange, id: str | None) -> wire.Object:
        """Send all frames but the last, which is returned."""
        last: wire.Object = {}
        async with aclosing(exchanged.frames()) as batches:
            async for frames in batches:
                for frame in frames:
                    if frame["type"] == "done":
                        last = frame
                    else:
                        await self._send(frame, id)
        return last

    def _exchange(self, asked: Asked) -> Exchange:
        assert asked.operation is not None
        self._count += 1
        return exchange(
            asked.operation, asked.body, services=self.request.app[SERVICES], live=asked.stream,
            client=self.request.remote or "", request_id=f"{self.request[REQUEST_ID]}.{self._count}")

    async def _send(self, frame: wire.Object, id: str | None) -> None:
        """Send one frame and wait, for a while, until it is taken: what nobody reads must not pile up here."""
        data = wire.encode(frame if id is None else {**frame, "id": id})
        try:
            async with asyncio.timeout(self.request.app[SERVICES].stall_timeout):
                await self.socket.send_frame(data, WSMsgType.TEXT)
        except TimeoutError:
            hang_up(self.request)
            raise ConnectionResetError("The caller stopped reading.") from None


def read(kind: WSMsgType, data: bytes) -> dict[str, Any]:
    """The JSON object in a frame. Raises `ValidationFailed`."""
    if kind is not WSMsgType.TEXT:
        raise errors.ValidationFailed([row(["body"], "type_error.text|send JSON in a text frame, not binary")])
    value = decoded(data)
    if not isinstance(value, dict):
        raise errors.ValidationFailed([row(["body"], "type_error.dict|value is not a valid dict")])
    return value


def id_of(frame: object) -> str | None:
    """The id of a frame that may be wrong in any way, so that even its error can be told apart."""
    match frame:
        case {"id": str(id)}:
            return id
    return None
