"""An operation's answer as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from aioapp.web import answers
from aioapp.web.context import REQUEST_ID, SERVICES
from aioapp.web.endpoint import Endpoint, read_body
from aioapp.web.error_responses import as_app_error, has_left
from aioapp.web.event_stream import HEARTBEATS, EventStream
from aioapp.web.fields import choice
from aioapp.web.operations.exchange import Exchange, prepared, requested
from aioapp.web.operations.operation import UPSTREAM_ERRORS, Operation
from aioapp.web.schemas import Body, ref, stream_of

DONE = b"data: [DONE]\n\n"


def stream(operation: Operation) -> Endpoint:
    """The operation's SSE form: its body with a `format`, answered while it is generated."""
    body = stream_body(operation)
    schema = body()

    async def handle(request: web.Request) -> web.StreamResponse:
        asked_for: dict[str, Any] = await read_body(request, schema)
        send = FORMATS[asked_for.pop("format")]
        if operation.prepare is not None:
            asked_for = dict(await prepared(request, operation, body=asked_for))
        return await answered(request, requested(request, operation, body=asked_for, live=True), send=send)

    return Endpoint(
        name=f"{operation.name}Stream", method="POST", path=operation.stream_path, handler=handle, tag="Claude",
        summary=f"{operation.summary}, as server-sent events", description=operation.description, body=body,
        example=operation.example, answers={200: {"text/event-stream": ref(stream_of(operation.answer))}},
        sample="data: Async programming\n\ndata:  lets one thread wait.\n\ndata: [DONE]\n\n",
        errors=(*UPSTREAM_ERRORS, *operation.errors))


def stream_body(operation: Operation) -> type[Body]:
    made = operation.body.from_dict(
        {"format": choice(tuple(FORMATS), load_default="text", description=(
            "`text`: pieces of text, then [DONE]. `events`: start, delta and done or error, each a JSON object."))},
        name=f"{operation.title}StreamBody")
    assert issubclass(made, Body)
    return made


async def answered(
        request: web.Request, exchange: Exchange, *, send: Callable[[Exchange, EventStream], Awaitable[None]],
) -> web.StreamResponse:
    services = request.app[SERVICES]
    stream, heartbeats = EventStream(request=request), request.app[HEARTBEATS]
    async with heartbeats.kept_alive(stream, heartbeat=services.heartbeat) as events:
        try:
            await send(exchange, events)
        except Exception as error:
            if not events.begun or has_left(request):
                raise
            failure = as_app_error(error, request)
            await events.end(object_event("error", answers.problem(failure, request_id=request[REQUEST_ID])))
    return events.response


async def send_text(exchange: Exchange, events: EventStream) -> None:
    async with aclosing(exchange.pieces()) as batches:
        async for pieces in batches:
            await events.send(text_events(pieces))
    if exchange.works is not None:
        await exchange.finished()  # what it gives has no place here, but what it checks or keeps is done
    await events.end(DONE)


async def send_events(exchange: Exchange, events: EventStream) -> None:
    start = [object_event("start", exchange.start())]
    async with aclosing(exchange.pieces()) as batches:
        async for pieces in batches:
            await events.send(b"".join([*start, *map(delta_event, pieces)]))
            start = []
    await events.send(b"".join([*start, object_event("done", {"type": "done", **await exchange.finished()})]))
    await events.end()


FORMATS: Mapping[str, Callable[[Exchange, EventStream], Awaitable[None]]] = {"text": send_text, "events": send_events}


def text_events(pieces: Sequence[str]) -> bytes:
    """The pieces as one event each. Nearly always, no text has anything to be looked at."""
    text = "\n\ndata: ".join(pieces)
    if text.count("\n") == 2 * len(pieces) - 2 and "\r" not in text and "[DONE]" not in text:
        return f"data: {text}\n\n".encode()
    return b"".join(map(text_event, pieces))


def text_event(text: str) -> bytes:
    """A piece of text as one event of `data:` lines only.

    Every kind of line break becomes a further line: this format cannot tell one from another. A piece that holds the
    end mark is cut inside it, so that nobody takes Claude's words for the end.
    """
    if "[DONE]" in text:
        first, *others = text.split("[DONE]")
        starts, ends = [first, *[f"NE]{other}" for other in others]], [*["[DO"] * len(others), ""]
        return b"".join(text_event(start + end) for start, end in zip(starts, ends))
    if "\n" in text or "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")
    return f"data: {text}\n\n".encode()


def delta_event(text: str) -> bytes:
    return b'event: delta\ndata: {"type":"delta","text":%b}\n\n' % answers.encode_text(text)


def object_event(name: str, value: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), answers.encode(value))
