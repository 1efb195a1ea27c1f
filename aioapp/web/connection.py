"""One caller's connection: aiohttp's own, and what that lacks: an end to every wait, in both directions.

    opened ── first byte ──> head ── all of it ──> received ── begin ──> handling ── answered ──> idle ──> head …
                                                                            ├── with its body unread ──> unread
                                                                            └── handshake ──> socket

Each phase has a time by which it must be over, and so has a write that the caller does not take. `Connections` looks
once a second whether it has passed: nothing here sets a timer, or costs a request more than a few assignments.
"""
import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, Literal, Protocol, cast

from aiohttp import web

from aioapp.errors import AppError, HeadTooLarge, RequestTimeout
from aioapp.web.bounds import LARGEST_HEAD, LAST_WORDS, LEAST_TAKEN, Deadlines
from aioapp.web.masking import Masked, Reader
from aioapp.web.refusal import explained, refusal, refused

Phase = Literal["opened", "head", "received", "handling", "unread", "idle", "socket", "refused"]

HEAD_ENDS = b"\r\n\r\n"
PROTOCOL_ERROR = b"\x88\x02\x03\xea"
"""A WebSocket's close frame with the code 1002 (RFC 6455 §7.4.1)."""


class Registry(Protocol):
    """What knows all connections."""

    def enter(self, connection: "Connection", transport: asyncio.BaseTransport) -> AppError | None:
        """Count a new one in. Gives why it must be refused, if it must be."""

    def leave(self, connection: "Connection") -> None: ...


class Connection(web.RequestHandler):
    """A subclass, for that is how aiohttp lets a server see a connection's bytes and give a shape to what its parser
    refuses. It overrides public methods, and reads nothing that is private."""

    __slots__ = ("_clock", "_deadlines", "_due", "_head", "_late", "_link", "_phase", "_registry", "_request",
                 "_stalled", "_tail", "_unsent")

    def __init__(self, server: web.Server, *, registry: Registry, deadlines: Deadlines, clock: Callable[[], float],
                 **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._registry = registry
        self._deadlines = deadlines
        self._clock = clock
        self._link: asyncio.Transport | None = None  # aiohttp lets go of its own before everything is sent
        self._request: web.BaseRequest | None = None
        self._late = False
        self._head = 0
        self._tail = b""
        self._unsent = 0
        self._stalled = inf
        self._enter("opened", deadlines.first_byte)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link = cast(asyncio.Transport, transport)
        error = self._registry.enter(self, transport)
        if error is None:
            return super().connection_made(transport)
        self._refuse(error)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._registry.leave(self)
        self._link = self._request = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        match self._phase:
            case "opened" | "idle" if data:  # aiohttp calls this with nothing, to go on with what it has
                self._head, self._tail = 0, b""
                self._enter("head", self._deadlines.head)
                self._take_head(data)
            case "head":
                self._take_head(data)
        if self._phase != "refused":
            super().data_received(data)

    def begin(self, request: web.BaseRequest) -> None:
        """`request` is about to be handled; its body may still be on its way."""
        self._request = request
        self._enter("handling", self._deadlines.body)

    async def finish_response(
            self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._request = None
            # aiohttp passes over the rest of a body that nobody has read, for a while; it is no new request.
            self._enter("idle" if request.content.is_eof() else "unread", self._deadlines.idle)
            if self._late:
                self.force_close()  # aiohttp would wait for the rest of the body

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """A WebSocket's handshake is done. Its own pings see whether its caller is there."""
        self._enter("socket", inf)
        masked: Reader = Masked(parser, refuse=self._break_off)
        super().set_parser(cast(Any, masked), data_received_cb)

    def pause_writing(self) -> None:
        """The caller does not take what is written as fast as it comes."""
        self._stalled = self._clock() + self._deadlines.stall
        self._unsent = self._link.get_write_buffer_size() if self._link else 0
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled = inf
        super().resume_writing()

    def handle_error(self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None,
                     message: str | None = None) -> web.StreamResponse:
        """What the parser refuses, and what fails outside of every handler, in our shape.

        aiohttp's own `message` quotes what was sent, and a key may be part of that.
        """
        if request.writer.output_size or isinstance(exc, ConnectionError):
            raise ConnectionAbortedError from exc
        self.log_exception("Error handling request from %s", request.remote, exc_info=exc)
        return refused(explained(exc) if status < 500 else AppError())

    def check(self, now: float) -> str | None:
        """Do what must be done by `now`. Gives what the caller failed to do in time, if it was that."""
        link = self._link
        if link is None:
            return None
        if self._stalled < inf and not self._reads(link, now):
            link.abort()  # to close it in order would wait for a reader that does not read
            return "read"
        if link.is_closing():
            self._stalled = min(self._stalled, now + self._deadlines.stall)
            return None
        return self._expire() if now >= self._due else None

    def _reads(self, link: asyncio.WriteTransport, now: float) -> bool:
        """Whether the caller takes what waits for it, if slowly: each `LEAST_TAKEN` bytes have their own deadline."""
        unsent = link.get_write_buffer_size()
        if unsent <= self._unsent - LEAST_TAKEN:
            self._unsent, self._stalled = unsent, now + self._deadlines.stall
        return now < self._stalled

    def abort(self) -> None:
        """Cut it, whatever is on its way."""
        if self._link is not None:
            self._link.abort()

    def _expire(self) -> str | None:
        self._due = inf
        match self._phase:
            case "refused":
                self.abort()
            case "opened" | "idle" | "unread":
                self.force_close()
                return "ask"
            case "head":
                self._refuse(RequestTimeout("The request's headers took too long to arrive."))
                return "send their headers"
            case "handling" if self._request and not self._request.content.is_eof():
                self._late = True
                self._request.content.set_exception(RequestTimeout("The request's body took too long to arrive."))
                return "send their body"
        return None

    def _enter(self, phase: Phase, seconds: float) -> None:
        self._phase = phase
        self._due = self._clock() + seconds

    def _take_head(self, data: bytes) -> None:
        """See whether the head is complete, or too large."""
        if HEAD_ENDS in self._tail + data[:LARGEST_HEAD + len(HEAD_ENDS)]:
            return self._enter("received", inf)
        self._head += len(data)
        self._tail = data[-3:]
        if self._head > LARGEST_HEAD:
            self._refuse(HeadTooLarge(f"All headers together have at most {LARGEST_HEAD} bytes."))

    def _refuse(self, error: AppError) -> None:
        """Say why, in whole, and close as soon as that is sent and the caller has closed, or has had time to."""
        self._enter("refused", LAST_WORDS)
        if self._link is not None and not self._link.is_closing():
            self._link.write(refusal(error))
            self._link.write_eof()

    def _break_off(self) -> None:
        """Fail a WebSocket whose caller breaks its protocol (RFC 6455 §7.1.7)."""
        if self._link is not None:
            self._link.write(PROTOCOL_ERROR)
        self.force_close()
