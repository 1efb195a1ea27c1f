"""Asking Claude in a handler of one's own: as whoever the request is from, and as `/api/generate` would.

    reply = await ask(request, prompt)                       the answer in one piece
    async with ask_stream(request, prompt) as stream:        or as it comes
        async for text in stream: …
        reply = await stream.reply()

Who asks is the request's caller: its limits, budget and models hold, and it is charged. On a route for everybody the
request must show a key all the same, if there are any. The first answer is what the request was counted for, and each
further one counts as a request more. Several may run side by side. All are stopped when the caller hangs up.
"""
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

from aiohttp import web
from marshmallow import Schema

from aioapp.errors import AppError, BadRequest, Unauthorized
from aioapp.generation import Admission, Generation
from aioapp.messages.prompt import TextPrompt
from aioapp.services import Services
from aioapp.web.access.policy import peer_of, shown
from aioapp.web.access_log import log_frame
from aioapp.web.context import ADMISSION, ASKS, CALLER, REQUEST_ID, SERVICES, Asks
from aioapp.web.error_responses import has_left
from aioapp.web.operations.exchange import Exchange, asking_for
from aioapp.web.operations.operation import UPSTREAM_ERRORS
from aioapp.web.operations.reply import Reply

MOST_AT_ONCE = 8
"""As on a socket."""
ASK_ERRORS = (Unauthorized, *UPSTREAM_ERRORS)
"""What asking may raise, for the document of an endpoint of one's own."""


async def ask(request: web.Request, prompt: TextPrompt, *, output: type[Schema] | None = None) -> Reply:
    """What Claude answers, once all of it is there. With `output`, it is asked for JSON, which is in `Reply.data`.

    Raises an `AppError`, which becomes the usual answer where it leaves the handler.
    """
    async with asking(request, prompt, live=False, output=output) as exchanged:
        await exchanged.whole()
        return exchanged.reply()


@dataclass(slots=True, kw_only=True, eq=False)
class ReplyStream:
    """An answer as it comes: iterate over it for its text, piece by piece."""

    exchange: Exchange = field(repr=False)
    pieces: AsyncGenerator[list[str], None] = field(repr=False)
    ready: deque[str] = field(default_factory=deque, repr=False)
    over: bool = False
    left: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self.ready:
            if self.over:
                raise StopAsyncIteration
            await self.read()
        return self.ready.popleft()

    async def read(self) -> None:
        """Wait for what comes next, which may be the end."""
        if self.left:
            raise RuntimeError("The stream was left before its end, which has stopped Claude.")
        pieces = await anext(self.pieces, None)
        self.ready.extend(pieces or ())
        self.over = pieces is None

    async def reply(self) -> Reply:
        """The whole answer; what nobody has taken of it is waited for. Raises an `AppError`."""
        while not self.over:
            await self.read()
        return self.exchange.reply()


@asynccontextmanager
async def ask_stream(
        request: web.Request, prompt: TextPrompt, *, output: type[Schema] | None = None,
) -> AsyncIterator[ReplyStream]:
    """What Claude answers, as it comes. Leaving it stops Claude.

    It is entered once there is some text: what is refused is refused before, while the request can still be answered
    with an error.
    """
    async with (asking(request, prompt, live=True, output=output) as exchanged,
                aclosing(exchanged.pieces()) as pieces):
        stream = ReplyStream(exchange=exchanged, pieces=pieces)
        await stream.read()
        try:
            yield stream
        finally:
            stream.left = True


@asynccontextmanager
async def asking(
        request: web.Request, prompt: TextPrompt, *, live: bool, output: type[Schema] | None,
) -> AsyncIterator[Exchange]:
    """The exchange, told in the log once it is over."""
    services: Services = request.config_dict[SERVICES]  # an application inside ours has none itself
    asks, began = entered(request), time.perf_counter()
    status: int | None = None
    generation: Generation | None = None
    admission = Admission(request_id=f"{request[REQUEST_ID]}.ask{asks.count}")
    try:
        admission = await admitted(request, services=services, asks=asks, request_id=admission.request_id)
        prompt = prompt if output is None else asking_for(output, prompt)
        call, warnings = services.call(prompt, live=live, admission=admission)
        generation = call.generation
        yield Exchange(call=call, warnings=warnings, extra={}, generate=services.generate, output=output)
    except Exception as error:
        status = error.status if isinstance(error, AppError) else AppError.status
        raise
    finally:
        asks.running -= 1
        if generation is not None and generation.outcome == "completed":
            status = status or 200
        with as_ours(request):
            log_frame(request, admission, generation=generation, status=status, seconds=time.perf_counter() - began,
                      method="ASK")


def entered(request: web.Request) -> Asks:
    """Count one more. Raises `BadRequest` where too many run, and `RuntimeError` for a request that is over."""
    if has_left(request) or not is_handled(request):
        raise RuntimeError("Claude can be asked only while the request is handled: its caller is who is charged, and "
                           "whose leaving stops Claude. This request has been answered.")
    asks: Asks = request.setdefault(ASKS, Asks())
    if asks.running >= MOST_AT_ONCE:
        raise BadRequest(f"At most {MOST_AT_ONCE} generations can run for a request at once.")
    asks.count += 1
    asks.running += 1
    return asks


def is_handled(request: web.Request) -> bool:
    """Whether the request's handler has not returned. aiohttp knows, but tells nobody."""
    return getattr(request.protocol, "_current_request", None) is request


@contextmanager
def as_ours(request: web.Request) -> Iterator[None]:
    """For what goes by the application: that of a handler may be one inside ours. Nothing may wait meanwhile."""
    found, inner = request.match_info, request.match_info.current_app
    found.current_app = found.apps[0]
    try:
        yield
    finally:
        found.current_app = inner


async def admitted(request: web.Request, *, services: Services, asks: Asks, request_id: str) -> Admission:
    """Who asks, and the second in which the limits counted it. Raises `Unauthorized`, `LimitReached` and their like."""
    if asks.included:
        asks.included = False
        if ADMISSION in request:
            return replace(request[ADMISSION], request_id=request_id)
    if CALLER in request:
        caller = services.authenticator.reauthenticate(request[CALLER])
    else:
        with as_ours(request):
            caller = services.authenticator.authenticate(shown(request), peer=partial(peer_of, request))
        request[CALLER] = caller
    counted = await services.allowance.admit(caller)
    return Admission(caller=caller, request_id=request_id, counted=counted)
