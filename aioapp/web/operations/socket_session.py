"""What is said on one open socket: frames in, generations side by side, frames out."""
import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import WSCloseCode, WSMsgType, web

from aioapp import errors
from aioapp.callers import NOBODY, Caller
from aioapp.generation import Admission
from aioapp.web import answers
from aioapp.web.access.policy import introduced
from aioapp.web.access_log import log_frame
from aioapp.web.context import CALLER, REQUEST_ID, SERVICES
from aioapp.web.error_responses import as_app_error
from aioapp.web.operations.exchange import Exchange, exchange, prepared
from aioapp.web.operations.socket_frames import deltas, encoded, text_frame
from aioapp.web.operations.socket_request import Run, SocketRequest, Understand, id_of, read, read_first
from aioapp.web.validation import give_way

MOST_AT_ONCE = 8
ENDS = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


@dataclass(slots=True, kw_only=True, eq=False)
class SocketSession:
    """Leaving it stops what still runs. `caller` is who asks, None until the caller has said so."""

    caller: Caller | None
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
        """Take frames until the socket closes. Nobody is listened to for long who has not said who it is."""
        # One deadline for all of it: each ping would begin a new wait.
        until = asyncio.get_running_loop().time() + self.request.app[SERVICES].introduction
        while True:
            try:
                async with asyncio.timeout_at(None if self.caller else until):
                    message = await self.socket.receive()
            except TimeoutError:
                return await self._dismiss(errors.Unauthorized("No key came."), None)
            if message.type in ENDS:
                return
            frame: object = None
            try:
                frame = (read if self.caller else read_first)(message.type, message.data)
                await give_way(message.data)
                asked = self.understand(frame)
                await give_way(message.data)
                await self._take(asked)
            except ConnectionError:
                raise
            except Exception as error:
                failure = as_app_error(error, self.request, admission=self._admission())
                if self.caller is None or isinstance(failure, errors.Unauthorized):
                    return await self._dismiss(failure, id_of(frame))
                await self._send(answers.problem(failure), id_of(frame))
            # A task that is cancelled before its first step would end without its last frame; and frames that are
            # there already would be taken one after the other, with no turn for anybody else.
            await asyncio.sleep(0)

    async def _take(self, asked: SocketRequest) -> None:
        authenticator = self.request.app[SERVICES].authenticator
        if asked.key is not None:
            self.caller = introduced(self.request, asked.key)
            return await self._send({"type": "auth", "success": True, "timestamp": answers.now()}, asked.id)
        assert self.caller is not None  # whoever is unknown can only show a key
        if asked.cancel:
            return self._cancel(asked.id)
        if len(self._runs) >= MOST_AT_ONCE:
            raise errors.BadRequest(f"At most {MOST_AT_ONCE} generations can run on a socket at once.")
        if asked.id is not None and self._find(asked.id):
            raise errors.BadRequest("A generation with this id is still running.")
        self.caller = authenticator.reauthenticate(self.caller)
        admission = await self._admit(self.caller)
        run = Run(asked.id)
        run.task = asyncio.create_task(self._run(run, asked, admission=admission))
        self._runs.add(run)

    def _cancel(self, id: str | None) -> None:
        run = self._find(id) if id is not None else None
        if run is None or run.ended or run.task is None:
            raise errors.BadRequest("No generation with this id is running.")
        run.cancelled = True
        run.task.cancel()

    def _find(self, id: str) -> Run | None:
        return next((run for run in self._runs if run.id == id), None)

    async def _run(self, run: Run, asked: SocketRequest, *, admission: Admission) -> None:
        """Answer one request, whatever happens, with one last frame; a caller who has gone needs none."""
        began = time.perf_counter()
        try:
            last = await self._last_frame(run, asked, admission=admission)
            run.ended = True
            await self._send(last, run.id)
        except ConnectionError:
            return
        finally:
            self._runs.discard(run)
            log_frame(self.request, admission, generation=run.generation, status=run.status,
                      seconds=time.perf_counter() - began)

    async def _last_frame(self, run: Run, asked: SocketRequest, *, admission: Admission) -> answers.Object:
        try:
            exchanged = await self._exchange(asked, admission)
            run.generation = exchanged.call.generation
            last = await (self._streamed(exchanged, run.id) if asked.stream else exchanged.whole())
            run.status = 200
            return last
        except ConnectionError:
            raise
        except Exception as error:
            return self._failed(run, as_app_error(error, self.request, admission=admission))
        except asyncio.CancelledError:
            if not run.cancelled:
                raise
            return self._failed(run, errors.Cancelled())

    def _failed(self, run: Run, failure: errors.AppError) -> answers.Object:
        run.status = failure.status
        return answers.problem(failure)

    async def _streamed(self, exchanged: Exchange, id: str | None) -> answers.Object:
        """Send all frames but the last, which is returned."""
        start = [encoded(exchanged.start(), id)]
        async with aclosing(exchanged.pieces()) as batches:
            async for pieces in batches:
                await self._write([*start, *deltas(pieces, id)])
                start = []
        if start:
            await self._write(start)
        return {"type": "done", **await exchanged.finished()}

    async def _admit(self, caller: Caller) -> Admission:
        self._count += 1
        counted = await self.request.app[SERVICES].allowance.admit(caller)
        return self._admission(counted=counted)

    async def _exchange(self, asked: SocketRequest, admission: Admission) -> Exchange:
        operation, body = asked.operation, asked.body
        assert operation is not None
        if operation.prepare is not None:
            self.request[CALLER] = admission.caller  # the key may have come in a frame
            body = await prepared(self.request, operation, body=body)
        return exchange(
            operation, body, services=self.request.app[SERVICES], live=asked.stream, admission=admission)

    def _admission(self, *, counted: int = 0) -> Admission:
        request_id = f"{self.request[REQUEST_ID]}.{self._count}"
        return Admission(caller=self.caller or NOBODY, request_id=request_id, counted=counted, socket=True)

    async def _dismiss(self, error: errors.AppError, id: str | None) -> None:
        """Tell the caller why, and close (RFC 6455 §7.4.1: 1008, policy violation)."""
        await self._send(answers.problem(error), id)
        await self.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=error.title.encode())

    async def _send(self, frame: answers.Object, id: str | None) -> None:
        await self._write([encoded(frame, id)])

    async def _write(self, texts: Iterable[bytes]) -> None:
        """Send a frame for each text, all in one write, and wait until they are taken.

        What nobody reads must not pile up here, and its caller is hung up on (see `Connection`). aiohttp's own writer
        would make a write of each frame; its pings and its last frame may come between two of ours.
        """
        transport = self.request.transport
        if self.socket.closed or transport is None or transport.is_closing():
            raise ConnectionResetError("The socket is closed.")
        transport.write(b"".join(map(text_frame, texts)))
        await self.request.writer.drain()
