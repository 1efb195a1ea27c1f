"""Bodies that may be large: each is bounded, and so is what all that are held at once take together."""
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from aiohttp import hdrs, web

from aioapp.errors import BadRequest, Overloaded, RequestTooLarge, UnsupportedMediaType
from aioapp.web.server.connection import Connection
from aioapp.web.validation import has_many_values

LARGEST = 32 * 2**20
"""Bytes of a body, as at Claude's."""
SMALL = 2**18
"""Bytes of a body that is not counted: such are bounded by the connections that there may be."""
MOST_HELD = 256 * 2**20
"""Bytes of all other bodies together, in one process."""
MOST_VALUES = 2**17
"""Values of a body: as objects they take many times as much memory, and the event loop's time."""
TOO_LARGE = f"A request has at most {LARGEST // 2**20} MiB."


T = TypeVar("T")


class LargeBodies:
    """Those that one process holds. A body is counted as it arrives: one that is promised takes nobody's place."""

    def __init__(self, *, most: int = MOST_HELD) -> None:
        self._most = most
        self._held = 0

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytes]:
        """The request's body, for as long as it is needed.

        Raises `RequestTooLarge`, `Overloaded` where there is no room for it now, `UnsupportedMediaType` for one that is
        packed, or `BadRequest` for too many values.
        """
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise UnsupportedMediaType("Send the body as it is, without the header Content-Encoding.")
        expected, body = request.content_length or 0, bytearray()
        self._check_room(expected)
        allow(request, expected if request.content_length is not None else LARGEST)
        counted = 0
        try:
            async for piece in request.content.iter_any():
                body += piece
                self._check_room(len(body), counted=counted)
                self._held += counted_of(body) - counted
                counted = counted_of(body)
            raw = bytes(body)
            body.clear()
            yield await bounded(raw)
        finally:
            self._held -= counted

    def _check_room(self, size: int, *, counted: int = 0) -> None:
        """Whether there is room for so many bytes, of which some are `counted` already."""
        if size > LARGEST:
            raise RequestTooLarge(TOO_LARGE)
        if size > SMALL and self._held + size - counted > self._most:
            raise Overloaded("This server holds as many large requests as it can. Send it again in a moment.",
                             retry_after=1)


LARGE_BODIES = web.AppKey("large_bodies", LargeBodies)


def counted_of(body: bytearray) -> int:
    return len(body) if len(body) > SMALL else 0


def allow(request: web.Request, size: int) -> None:
    """Let the connection take so many bytes, and the time for them."""
    if isinstance(request.protocol, Connection):
        request.protocol.allow_body(size)


async def bounded(raw: bytes) -> bytes:
    """The body, if there are not too many values in it: what it would take is looked at before it is made."""
    if len(raw) > MOST_VALUES and await looked_into(raw, partial(has_many_values, raw, most=MOST_VALUES)):
        raise BadRequest(f"A request has at most {MOST_VALUES} values.")
    return raw


async def looked_into(raw: bytes, look: Callable[[], T]) -> T:
    """What `look` finds in a body: beside the event loop where that takes a while, so that others have their turn."""
    return await asyncio.to_thread(look) if len(raw) > SMALL else look()
