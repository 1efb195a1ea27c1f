"""Bodies that may be large: each is bounded, and so is what all that are held at once take together."""
import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from aiohttp import hdrs, web

from aioapp.errors import BadRequest, Overloaded, RequestTooLarge, UnsupportedMediaType
from aioapp.web.context import CALLER
from aioapp.web.server.connection import Connection
from aioapp.web.validation import has_many_values

LARGEST = 32 * 2**20
"""Bytes of a body, as at Claude's."""
SMALL = 2**18
"""Bytes of a body that is not counted: such are bounded by the connections that there may be."""
MOST_HELD = 256 * 2**20
"""Bytes of all other bodies together, in one process."""
SHARE = 4
"""One caller holds at most a quarter of them: else one could keep all others out."""
MOST_VALUES = 2**17
"""Values of a body: as objects they take many times as much memory, and the event loop's time."""
TOO_LARGE = f"A request has at most {LARGEST // 2**20} MiB."


T = TypeVar("T")


class LargeBodies:
    """Those that one process holds. A body is counted as it arrives: one that is promised takes nobody's place."""

    def __init__(self, *, most: int = MOST_HELD) -> None:
        self._most = most
        self._held: Counter[str] = Counter()

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytes]:
        """The request's body, for as long as it is needed.

        Raises `RequestTooLarge`, `Overloaded` where there is no room for it now, `UnsupportedMediaType` for one that is
        packed, or `BadRequest` for too many values.
        """
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise UnsupportedMediaType("Send the body as it is, without the header Content-Encoding.")
        expected, body, account = request.content_length or 0, bytearray(), request[CALLER].account
        self._check_room(expected, account=account)
        allow(request, expected if request.content_length is not None else LARGEST)
        counted = 0
        try:
            async for piece in request.content.iter_any():
                body += piece
                self._check_room(len(body) - counted, account=account, whole=len(body))
                self._held[account] += counted_of(body) - counted
                counted = counted_of(body)
            raw = bytes(body)
            body.clear()
            yield await bounded(raw)
        finally:
            self._held[account] -= counted
            if not self._held[account]:
                del self._held[account]

    def _check_room(self, more: int, *, account: str, whole: int = 0) -> None:
        """Whether there is room for so many bytes `more` of a body that has come as far as `whole`."""
        size = whole or more
        if size > LARGEST:
            raise RequestTooLarge(TOO_LARGE)
        held, own = sum(self._held.values()) + more, self._held[account] + more
        if size > SMALL and (held > self._most or own > max(LARGEST, self._most // SHARE)):
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
