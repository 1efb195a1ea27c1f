"""One caller's connection: aiohttp's own, and what that lacks: an end to every wait, in both directions.

    opened ── first byte ──> head ── parsed ──> received ── begin ──> handling ── answered ──> idle ──> head …
                        answered, the next is here ──> received; with its body unread ──> unread; a handshake ──> socket

Each phase has a time by which it must be over, and so has a write that the caller does not take. `Connections` looks
once a second whether it has passed: nothing here sets a timer, or costs a request more than a few assignments.
"""
import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, Literal, cast

from aiohttp import StreamReader, web
from aiohttp.streams import EMPTY_PAYLOAD

from aioapp.errors import AppError, RequestTimeout
from aioapp.web.server.backlog import Backlog
from aioapp.web.bounds import LARGEST_BODY, LARGEST_HEAD, LAST_WORDS, MOST_UNREAD, SLOWEST, Deadlines
from aioapp.web.server.masking import Guarded, Heads, Reader
from aioapp.web.refusal import farewell, head_too_large, reason_of, refused, size_of, too_large, turn_away

Phase = Literal["opened", "head", "received", "handling", "unread", "idle", "socket", "refused"]


class Connection(web.RequestHandler):
    """`enter` counts it in, and gives why it must be refused, if it must be; `leave` counts it out. One that is
    `retiring` is closed after its next answer, which says so. A subclass: so aiohttp shows a connection's bytes and
    lets what its parser refuses have a shape. Of what is private it reads `_messages`, the requests that wait."""

    __slots__ = ("_backlog", "_body", "_clock", "_count_in", "_count_out", "_deadlines", "_due", "_head", "_heads",
                 "_largest", "_late", "_link", "_phase", "retiring")

    def __init__(
            self, server: web.Server, *, enter: Callable[["Connection", asyncio.BaseTransport], AppError | None],
            leave: Callable[["Connection"], None], deadlines: Deadlines, clock: Callable[[], float], **options: Any,
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._count_in, self._count_out, self._deadlines, self._clock = enter, leave, deadlines, clock
        self._link: asyncio.Transport | None = None  # aiohttp lets go of its own before everything is sent
        self._body: StreamReader = EMPTY_PAYLOAD
        self._heads, self._backlog = Heads(), Backlog(patience=deadlines.stall)
        self._late, self._head, self._largest, self._due, self.retiring = False, 0, LARGEST_BODY, inf, False
        self._enter("opened", deadlines.first_byte)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link = cast(asyncio.Transport, transport)
        if (error := self._count_in(self, transport)) is None:
            return super().connection_made(transport)
        self._refuse(error)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._count_out(self)
        self._link, self._body = None, EMPTY_PAYLOAD
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._phase == "refused":
            return
        if self._phase == "unread" and self._body.is_eof():
            self._enter("idle", self._deadlines.idle)
        super().data_received(data)
        match self._phase:
            case "opened" | "idle" | "head":
                self._take_head(data)
            case "handling" | "unread":
                self._take_more(data)
            case "socket":
                self._due = inf if self._heads.whole else min(self._due, self._clock() + self._deadlines.body)

    def begin(self, request: web.BaseRequest) -> AppError | None:
        """`request` is about to be handled; its body may still be on its way. Gives why it must be refused, if so."""
        self._body, self._largest = request.content, LARGEST_BODY
        self._enter("handling", self._deadlines.body)
        large, self._head = self._head > LARGEST_HEAD and size_of(request) > LARGEST_HEAD, 0
        return head_too_large() if large else None

    def limit_first(self, size: int) -> None:
        """On the WebSocket that is about to begin, the first message has at most so many bytes."""
        self._heads.first = size

    def allow_body(self, size: int) -> None:
        """The body of the request that is handled may have so many bytes, and takes its time for them."""
        self._largest = size + LARGEST_BODY
        self._due += size / SLOWEST

    async def finish_response(
            self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        if self.retiring and not resp.prepared:
            resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            if self._messages:
                self._enter("received", self._deadlines.head)
            else:
                # aiohttp passes over the rest of a body that nobody has read, for a while; it is no new request.
                self._enter("idle" if self._body.is_eof() else "unread", self._deadlines.idle)
                if self._phase == "unread" and request.content_length is not None:
                    self._largest = MOST_UNREAD  # without chunks, it costs next to nothing
            if self._late:
                self.force_close()  # aiohttp would wait for the rest of the body

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """A WebSocket's handshake is done. Its own pings see whether its caller is there."""
        self._enter("socket", inf)
        guarded: Reader = Guarded(parser, heads=self._heads, refuse=self._break_off)
        super().set_parser(cast(Any, guarded), data_received_cb)

    def pause_writing(self) -> None:
        """The caller does not take what is written as fast as it comes."""
        self._backlog.watch(self._clock())
        super().pause_writing()

    def resume_writing(self) -> None:
        self._backlog.forget()
        super().resume_writing()

    def handle_error(self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None,
                     message: str | None = None) -> web.StreamResponse:
        """What the parser refuses, and what fails outside of every handler, in our shape; `message` quotes secrets."""
        if request.writer.output_size or isinstance(exc, ConnectionError):
            raise ConnectionAbortedError from exc
        self.log_exception("Error handling request from %s", request.remote, exc_info=exc)
        return refused(reason_of(exc) if status < 500 else AppError())

    def check(self, now: float) -> str | None:
        """Do what must be done by `now`. Gives what the caller failed to do in time, if it was that."""
        if (link := self._link) is None:
            return None
        if self._backlog.is_stuck(link, now):
            link.abort()  # to close it in order would wait for a reader that does not read
            return "read"
        if link.is_closing():
            self._backlog.watch(now)
            return None
        return self._expire() if now >= self._due else None

    def _expire(self) -> str | None:
        self._due = inf
        match self._phase:
            case "refused" if self._link:
                self._link.abort()
            case "opened" | "idle" | "unread":
                self.force_close()
                return "ask"
            case "head" | "received":
                self._refuse(RequestTimeout("The request's headers took too long to arrive."))
                return "send their headers"
            case "handling" if not self._body.is_eof():
                self._fail_body(RequestTimeout("The request's body took too long to arrive."))
                return "send their body"
            case "socket":
                self._break_off(RequestTimeout("The frame took too long to arrive."))
                return "send their frame"
        return None

    def _enter(self, phase: Phase, seconds: float) -> None:
        self._phase, self._due = phase, self._clock() + seconds

    def _take_head(self, data: bytes) -> None:
        """Some of a head has come, or all of it."""
        if self._phase != "head":
            data = data.lstrip(b"\r\n")  # empty lines before a request are none of it (RFC 9112 §2.2)
            if not (data or self._messages):
                return
            self._enter("head", self._deadlines.head)
        self._head += len(data)
        if self._messages:
            self._phase = "received"  # until a handler has it, its deadline holds
        elif self._head > LARGEST_HEAD:
            self._refuse(head_too_large())

    def _take_more(self, data: bytes) -> None:
        """Some of a body has come, or of requests that wait behind the one that is handled."""
        if self._messages and sum(size_of(message) for message, _ in self._messages) > LARGEST_HEAD:
            return self._link.abort() if self._link else None  # an answer is under way: nothing can be said
        self._head += len(data) if data and not self._body.is_eof() else 0  # none: aiohttp looks again at what it has
        if self._head > self._largest and self._phase == "unread":
            self.force_close()
        elif self._head > self._largest and not self._late:
            self._fail_body(too_large(self._largest))

    def _fail_body(self, error: AppError) -> None:
        """Let whoever reads the body fail; what is still to come of it is not waited for."""
        self._late = True
        self._body.set_exception(error)

    def _refuse(self, error: AppError) -> None:
        """Say why, and close once that is sent and the caller has closed, or has had time to."""
        self._enter("refused", LAST_WORDS)
        if self._link is not None and not self._link.is_closing():
            turn_away(self._link, error)

    def _break_off(self, error: AppError) -> None:
        """Fail a WebSocket whose caller breaks its protocol or asks too much (RFC 6455 §7.1.7)."""
        if self._link is not None:
            self._link.write(farewell(error))
        self.force_close()
