"""The fourth form of an answer: Claude's own, byte for byte, to whoever speaks Claude's own API."""
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from aioapp.errors import UpstreamFailed
from aioapp.generation import Batch, Call
from aioapp.messages import raw_prompt
from aioapp.messages.frames import Frames, wire_of
from aioapp.upstream.relayed import NOTHING
from aioapp.web import anthropic_errors
from aioapp.web.context import ADMISSION, GENERATION, REQUEST_ID, SERVICES
from aioapp.web.error_responses import as_app_error, has_left
from aioapp.web.event_stream import HEARTBEATS, EventStream
from aioapp.web.operations.large_bodies import LARGE_BODIES, looked_into

EVENTS, JSON = "text/event-stream; charset=utf-8", "application/json"
UNBUFFERED = {hdrs.CACHE_CONTROL: "no-cache", "X-Accel-Buffering": "no"}
GOING_ON = ("anthropic-", "x-claude-code-", "x-stainless-")
"""Prefixes of the headers that go on to Claude."""
UTF_8 = re.compile(r'application/json(\s*;\s*charset="?utf-8"?)?', re.IGNORECASE)
ALSO = {"x-app": "x-app", "user-agent": "User-Agent", "content-type": "Content-Type", "accept": "Accept"}


async def relay(request: web.Request) -> web.StreamResponse:
    """Ask Claude what the request asks, and pass on what it answers."""
    services = request.app[SERVICES]
    async with request.app[LARGE_BODIES].read(request) as raw:
        prompt = await looked_into(raw, partial(
            raw_prompt.read, raw, query=request.rel_url.raw_query_string, headers=going_on(request.headers)))
        call, _ = services.call(prompt, live=prompt.live, admission=request[ADMISSION])
        request[GENERATION] = call.generation
        async with aclosing(services.generate(call)) as batches:
            if (first := await anext(batches, None)) is None:
                raise UpstreamFailed(NOTHING)
            headers = {hdrs.CONTENT_TYPE: EVENTS if call.live else JSON, **named(call)}
            if not headers[hdrs.CONTENT_TYPE].lower().startswith("text/event-stream"):
                return web.Response(body=await rest_of(batches, first=first), headers={**headers, **UNBUFFERED})
            stream = EventStream(request=request, response=web.StreamResponse(headers={**headers, **UNBUFFERED}))
            await passed_on(stream, batches, first=first)
            return stream.response


def going_on(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """Of a caller's headers, those that are for Claude: no key, no cookie, and nothing that is for one hop alone."""
    hop = {name.strip().lower() for name in ",".join(headers.getall(hdrs.CONNECTION, ())).split(",")}
    found: dict[str, str] = {}
    for given in dict.fromkeys(headers):
        name = given.lower()
        value = ", ".join(headers.getall(given))
        if (name in ALSO or name.startswith(GOING_ON)) and name not in hop and value.isprintable():
            found[ALSO.get(name, name)] = value
    if not UTF_8.fullmatch(found.get("Content-Type", JSON)):
        found["Content-Type"] = JSON  # as that it was looked at, so Claude must not read anything else in it
    return found


def named(call: Call) -> dict[str, str]:
    """The headers of Claude's answer, with the type of its content under the name that ours has."""
    head = dict(call.generation.head)
    kind = head.pop("content-type", None)
    return head if kind is None else {hdrs.CONTENT_TYPE: kind, **head}


async def rest_of(batches: AsyncGenerator[Batch, None], *, first: Batch) -> bytes:
    pieces = [body_of(first)]
    async for batch in batches:
        pieces.append(body_of(batch))
    return b"".join(pieces)


def body_of(batch: Batch) -> bytes:
    return batch.wire if isinstance(batch, Frames) else b"".join(event.raw for event in batch)


async def passed_on(stream: EventStream, batches: AsyncGenerator[Batch, None], *, first: Batch) -> None:
    """Write what comes as it comes. Until there is an answer, nothing is written to keep the connection alive: a late
    refusal must still have a status of its own."""
    request = stream.request
    services, heartbeats = request.app[SERVICES], request.app[HEARTBEATS]
    async with heartbeats.kept_alive(stream, heartbeat=services.heartbeat):
        try:
            await stream.send(wire_of(first))
            async for batch in batches:
                await stream.send(wire_of(batch))
        except Exception as error:
            if has_left(request):
                raise
            failure = as_app_error(error, request)
            # What Claude told of it has been passed on.
            last = b"" if failure.said else anthropic_errors.event(failure, request_id=request[REQUEST_ID])
            return await stream.end(last)
        await stream.end()
