"""The native WebSocket: every operation over one socket, several at once.

    {…generate's body, "id"?}                 is answered by one frame, generate's answer
    {…, "stream": true}                       by frames: start, delta… and done
    {"type": "chat", …}                       names another operation
    {"type": "cancel", "id": …}               stops one
    {"type": "auth", "key": …}                shows a key, where the handshake could not; within 10 seconds, and first

A caller's `id` is on every frame of its answer. Every request ends with exactly one answer, `done` or error frame.
The schemas are `SocketRequest` for what is sent, and `SocketFrame` for what is answered.
"""
import asyncio
from collections.abc import Mapping, Sequence

from aiohttp import WSCloseCode, hdrs, web
from marshmallow import EXCLUDE

from aioapp import errors
from aioapp.web.context import CALLER, SERVICES
from aioapp.web.endpoint import Endpoint
from aioapp.web.event_stream import hang_up
from aioapp.web.fields import choice, flag, text
from aioapp.web.operations.operation import Operation
from aioapp.web.operations.socket_session import SocketSession
from aioapp.web.operations.socket_request import LONGEST_ID, SocketRequest, Understand
from aioapp.web.schemas import Body
from aioapp.web.bounds import LARGEST_INTRODUCTION
from aioapp.web.server.connection import Connection
from aioapp.web.validation import loaded

LARGEST_FRAME = 2**20
LONGEST_KEY = 256
"""Characters; a key of ours has fewer."""
CLOSE_TIMEOUT = 1.0
"""Seconds that a caller gets to answer a close frame."""

SOCKET_SESSIONS = web.AppKey("sessions", set[SocketSession])


class Envelope(Body):
    """What a frame may say beside its operation's body."""

    type = text(least=1, most=64, description="The operation's name, `generate` without; or `cancel`.")
    id = text(least=1, most=LONGEST_ID, description="Echoed on every frame of the answer.")
    stream = flag(load_default=False, description="Whether to answer with start, delta… and done.")


class AuthRequest(Body):
    """Show a key. Browsers send no header with a handshake, and a key does not belong into an address."""

    type = choice(("auth",), required=True)
    key = text(most=LONGEST_KEY, required=True)
    id = text(least=1, most=LONGEST_ID)


class CancelRequest(Body):
    """Stop the generation that runs under `id`."""

    type = choice(("cancel",), required=True)
    id = text(least=1, most=LONGEST_ID, required=True)


def websocket(operations: Sequence[Operation], *, path: str) -> Endpoint:
    """The endpoint that serves `operations` over a WebSocket; a frame without `type` means the first of them."""
    understand = grammar(operations)

    async def handle(request: web.Request) -> web.StreamResponse:
        check(request)
        # aiohttp refuses a frame of its `max_msg_size` already, not only one that is over it.
        socket = web.WebSocketResponse(
            heartbeat=request.app[SERVICES].ping, max_msg_size=LARGEST_FRAME + 1, timeout=CLOSE_TIMEOUT, compress=False,
            decode_text=False)
        if CALLER not in request and isinstance(request.protocol, Connection):
            request.protocol.limit_first(LARGEST_INTRODUCTION)  # a stranger's
        await socket.prepare(request)
        await hold(request, socket, understand=understand)
        return socket

    return Endpoint(
        name="websocket", path=path, handler=handle, tag="Claude", access="socket",
        summary="Every operation over a WebSocket",
        description=(__doc__ or "").strip(), answers={101: {}}, errors=(errors.Forbidden, errors.UpgradeRequired))


def grammar(operations: Sequence[Operation]) -> Understand:
    """What turns a frame into what is asked by it. It raises `ValidationFailed` or `BadRequest`."""
    envelope, cancel, auth = Envelope(unknown=EXCLUDE), CancelRequest(), AuthRequest()
    known = {operation.name: (operation, operation.body()) for operation in operations}

    def understand(frame: Mapping[str, object]) -> SocketRequest:
        said = loaded(envelope, frame)
        name = said.get("type", operations[0].name)
        if name == "cancel":
            return SocketRequest(id=loaded(cancel, frame)["id"], cancel=True)
        if name == "auth":
            return SocketRequest(**{key: value for key, value in loaded(auth, frame).items() if key != "type"})
        if name not in known:
            raise errors.BadRequest(f"There is no type {name!r}. Known: {', '.join([*known, 'cancel', 'auth'])}.")
        operation, schema = known[name]
        body = loaded(schema, {key: value for key, value in frame.items() if key not in envelope.fields})
        return SocketRequest(id=said.get("id"), stream=said["stream"], operation=operation, body=body)

    return understand


def check(request: web.Request) -> None:
    """Refuse pages of other origins, whom no browser stops here, and requests that are no handshake."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and not request.app[SERVICES].allows(origin):
        raise errors.Forbidden("Pages of this origin may not open a WebSocket here.")
    if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
        raise errors.UpgradeRequired("Open this path as a WebSocket.")


async def hold(
        request: web.Request, socket: "web.WebSocketResponse[bool]", *, understand: Understand,
) -> None:
    """A session until either side closes; nothing that was asked on the socket outlives it."""
    sessions = request.app[SOCKET_SESSIONS]
    try:
        async with SocketSession(
                caller=request.get(CALLER), request=request, socket=socket, understand=understand) as session:
            sessions.add(session)
            try:
                await session.listen()
            finally:
                sessions.discard(session)
    finally:
        if socket.close_code == WSCloseCode.ABNORMAL_CLOSURE:
            hang_up(request)


async def close_sockets(app: web.Application, *, idle: bool = False) -> None:
    """Say good-bye to every caller, or only to those for whom nothing runs (RFC 6455 §7.4.1: 1001, going away)."""
    leaving = [part(session) for session in app[SOCKET_SESSIONS] if session.idle or not idle]
    await asyncio.gather(*leaving, return_exceptions=True)


async def part(session: SocketSession) -> None:
    """Close the socket; a caller who does not take the close frame, or does not answer it, is hung up on."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await session.socket.close(code=WSCloseCode.GOING_AWAY, message=b"The server is shutting down")
    except (TimeoutError, asyncio.CancelledError):  # aiohttp cancels us with a frame that was stopped half sent
        hang_up(session.request)
        raise
