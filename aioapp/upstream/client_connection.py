"""One connection to Claude: HTTP/1.1 (RFC 9112), read by llhttp, which is Node.js's parser.

aiohttp's client can do more, and for what is needed here takes several times as long.
"""
import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from aioapp.upstream.transport import Broken, Silent

LARGEST_HEAD = 2**16
"""Bytes of an answer's head, with all interim answers before it and all that is neither head nor body."""
READ_AHEAD = 2**14
"""Bytes of a body, with what marks its chunks, that wait for their reader before no more are read."""


class ClientConnection(asyncio.BufferedProtocol):
    """One exchange at a time, of which this is the `Response` too: `exchange`, then `read` to the end, then `release`.

    All connections of a pool read into one `buffer`, whose size bounds what is read at once. `freed` is told when the
    connection can be used again, `lost` when it never can.
    """

    def __init__(self, buffer: memoryview, *, freed: "Told", lost: "Told") -> None:
        self._buffer = buffer
        self._freed = freed
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._chunks: list[bytes] = []
        self.on_body = self._chunks.append  # for each piece of a body: a function of ours would take five times as long
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silence: float | None = None
        self._due = 0.0
        self.freed_at = 0.0
        self._begin()
        self._complete = True

    def _begin(self) -> None:
        self._chunks.clear()
        self._found: list[tuple[bytes, bytes]] = []
        self._waiting = self._head_size = 0
        self._complete = self._paused = self._reusable = False
        self._failure: Exception | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as is known: its other end may have closed it a moment ago."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, *, silence: float | None) -> "ClientConnection":
        """Send the request, and wait for the head of its answer. Raises `Silent` or `Broken`."""
        assert self._transport is not None and self._complete
        self._begin()
        self._silence = silence
        self._transport.write(request)
        while not self.status:
            if self._failure is not None:
                raise self._failure
            await self._news()
        return self

    async def read(self) -> bytes:
        while not self._chunks:
            if self._complete:
                return b""
            if self._failure is not None:
                raise self._failure
            await self._news()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def release(self) -> None:
        if not self._complete or not self._reusable:
            self.abort()
        elif self.usable:
            self._reusable = False  # whoever released it again would hand it to a second caller
            self._freed(self)

    def abort(self) -> None:
        """Close the connection at once, which stops Claude."""
        if self._transport is not None:
            self._transport.abort()

    async def _news(self) -> None:
        """Wait until anything has changed, or, by a failure, for so long in silence."""
        self._waiter = self._loop.create_future()
        if self._silence is not None:
            self._due = self._loop.time() + self._silence
            if self._timer is None:
                self._timer = self._loop.call_at(self._due, self._check)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _check(self) -> None:
        """It is set anew only when it rings too early: one timer does for many waits."""
        self._timer = None
        if self._waiter is None or self._silence is None:  # or another exchange has begun, which may be silent
            return
        if self._loop.time() >= self._due:
            self._fail(Silent())
        else:
            self._timer = self._loop.call_at(self._due, self._check)

    def _fail(self, error: Exception) -> None:
        if not self._complete and self._failure is None:
            self._failure = error
        self.abort()
        self._wake()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one too, but not by its class

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        before = len(self._chunks)
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except (HttpParserError, HttpParserUpgrade) as error:
            return self._fail(Broken(f"not HTTP as we know it: {type(error).__name__}"))
        if len(self._chunks) > before:
            self._waiting += nbytes
        elif not self._complete:  # a head, interim ones, what stands behind the body
            self._head_size += nbytes
            if self._head_size > LARGEST_HEAD:
                return self._fail(Broken("a head that has no end"))
        if self._waiting > READ_AHEAD and not self._paused and not self._complete and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self.status and not self._complete and self._failure is None and error is None and self._ends_with_it():
            self._complete = True
        self._fail(Broken("closed by the other end"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lost(self)

    def _ends_with_it(self) -> bool:
        """Whether the body is all that comes until the connection is closed (RFC 9112 §6.3)."""
        coding = self.headers.get("transfer-encoding", "")
        return "content-length" not in self.headers and "chunked" not in coding.lower()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._complete:
            raise Broken("an answer that nobody has asked for")  # so that no byte of it is taken for the last one's

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # what comes behind the body has no bound, and no use here (RFC 9110 §6.5)
            self._found.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._complete or status < 200:  # of an interim answer (RFC 9110 §15.2), another head follows
            return
        self.raw_headers = tuple(self._found)
        headers: dict[str, str] = {}
        for raw, value in self._found:
            name, text = raw.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
        self.headers, self.status = headers, status

    def on_message_complete(self) -> None:
        if not self.status:  # an interim answer
            self._found.clear()
            return
        self._complete, self._reusable = True, self._parser.should_keep_alive()


Told = Callable[[ClientConnection], None]
