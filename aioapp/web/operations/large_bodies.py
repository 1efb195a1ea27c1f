"""Bodies that may be large: each is bounded, and so is what all that are held at once take together."""
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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


class LargeBodies:
    """Those that one process holds."""

    def __init__(self, *, most: int = MOST_HELD) -> None:
        self._most = most
        self._held = 0

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytes]:
        """The request's body, for as long as it is needed.

        Raises `RequestTooLarge`, `Overloaded` where there is no room for it now, `UnsupportedMediaType` where it is
        packed, or `BadRequest` for too many values.
        """
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise UnsupportedMediaType("Send the body as it is, without the header Content-Encoding.")
        size = expected_size(request)
        if size > LARGEST:
            raise RequestTooLarge(TOO_LARGE)
        counted = size if size > SMALL else 0
        if self._held + counted > self._most:
            raise Overloaded("This server holds as many large requests as it can. Send it again in a moment.",
                             retry_after=1)
        self._held += counted
        try:
            yield await read_whole(request)
        finally:
            self._held -= counted


LARGE_BODIES = web.AppKey("large_bodies", LargeBodies)


def expected_size(request: web.Request) -> int:
    """Bytes: as the request says, else as many as there may be."""
    if not request.body_exists:
        return 0
    return LARGEST if request.content_length is None else request.content_length


async def read_whole(request: web.Request) -> bytes:
    if isinstance(request.protocol, Connection):
        request.protocol.allow_body(LARGEST)
    raw: bytes = await request.clone(client_max_size=LARGEST).read()
    # What it would take is looked at before it is made: in a thread, for that may itself take a while.
    if len(raw) > MOST_VALUES and await asyncio.to_thread(has_many_values, raw, most=MOST_VALUES):
        raise BadRequest(f"A request has at most {MOST_VALUES} values.")
    return raw
