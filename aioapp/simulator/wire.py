"""Bytes, and how they leave: at once, at a pace, or cut off."""
import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence

from aiohttp import web

from aioapp.simulator.errors import Json


def encode(value: Json) -> bytes:
    # `replace`: a header, unlike a body, may bring bytes that are no UTF-8 into an error's message.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def as_json(value: Json, status: int = 200, *, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=encode(value), status=status, headers=headers, content_type="application/json")


async def send_whole(request: web.Request, message: Json, *, cut: bool) -> web.StreamResponse:
    payload = encode(message)
    headers = {"content-type": "application/json", "content-length": str(len(payload))}
    return await send(request, [(0.0, payload[:len(payload) // 2] if cut else payload)], headers=headers, cut=cut)


async def send_events(request: web.Request, events: Sequence[Json], *, token: float, cut: bool) -> web.StreamResponse:
    """Each delta takes `token` seconds; when that is none, all leave in one write."""
    frames = [(token if event["type"] == "content_block_delta" else 0.0, frame(event)) for event in events]
    headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    at_once = [(0.0, b"".join(data for _, data in frames))]
    return await send(request, frames if token else at_once, headers=headers, cut=cut)


def frame(event: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event))


async def send(request: web.Request, frames: Iterable[tuple[float, bytes]], *, headers: Mapping[str, str],
               cut: bool) -> web.StreamResponse:
    """Write each frame after its seconds; `cut` then ends the connection without the end of the body."""
    response = web.StreamResponse(headers=headers)
    try:
        await response.prepare(request)
        for wait, data in frames:
            await asyncio.sleep(wait)
            await response.write(data)
    except ConnectionError:
        return response     # the client hung up: there is nobody left to tell, and aiohttp would log a false 500
    if cut:
        request.protocol.force_close()
    return response
