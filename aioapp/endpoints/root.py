"""What is where, as the caller reached the server: absolute URLs for programs, a page for people in a browser."""
import re
from html import escape

from aiohttp import hdrs, web
from marshmallow import Schema, fields
from yarl import URL

import aioapp
from aioapp.errors import BadRequest
from aioapp.web.context import SERVICES
from aioapp.web.endpoint import Endpoint, json_response
from aioapp.web.negotiation import prefers
from aioapp.web.pages import PAGES, STILL, html
from aioapp.web.proxies import reached_at

HTML = "text/html"
VARY = {"Vary": "Accept"}
HINT = ("<p>This server has keys: put yours in the place of <code>aio_…</code>. "
        'An administrator <a href="/guide/keys">makes one</a>.</p>')

PLACES = {
    "docs": "/docs", "redoc": "/redoc", "openapi": "/openapi.json", "health": "/health", "auth_status": "/auth-status",
    "generate": "/api/generate", "chat": "/api/chat", "stream": "/api/stream", "websocket": "/ws/generate",
    "messages": "/v1/messages",
}
PlacesAnswer = Schema.from_dict(
    {name: fields.String(required=True, metadata={"format": "uri"}) for name in PLACES}, name="PlacesAnswer")


class RootAnswer(Schema):
    name = fields.String(required=True)
    version = fields.String(required=True)
    description = fields.String(required=True)
    endpoints = fields.Nested(PlacesAnswer, required=True)


def places(base: URL) -> dict[str, str]:
    urls = {name: base.with_path(path) for name, path in PLACES.items()}
    urls["websocket"] = urls["websocket"].with_scheme("wss" if base.scheme == "https" else "ws")
    return {name: str(url) for name, url in urls.items()}


def described(base: URL) -> dict[str, object]:
    return {
        "name": "aioapp",
        "version": aioapp.__version__,
        "description": (aioapp.__doc__ or "").strip(),
        "endpoints": places(base),
    }


async def root(request: web.Request) -> web.Response:
    base = reached_at(request)
    if prefers(request.headers.get(hdrs.ACCEPT, ""), HTML, over="application/json"):
        return front_door(base, keyless=request.app[SERVICES].authenticator.keyless)
    return json_response(described(base), headers=VARY)


def front_door(base: URL, *, keyless: bool) -> web.Response:
    parts = {"version": aioapp.__version__, "url": escape(str(base.origin())),
             "key": "" if keyless else " -H 'X-API-Key: aio_…'", "hint": "" if keyless else HINT}
    frame = (PAGES / "guide" / "home.html").read_text(encoding="utf-8")
    page = re.sub(r"<!-- (\w+) -->", lambda mark: parts[mark[1]], frame)
    return html(page, policy=STILL, headers={**VARY, "Referrer-Policy": "no-referrer"})


ROOT = Endpoint(
    name="root", path="/", handler=root, access="open", summary="What is where",
    description="A browser, which prefers HTML, gets a page that leads to all of it.",
    answers={200: {"application/json": RootAnswer, HTML: {"type": "string", "examples": ["<!DOCTYPE html>"]}}},
    sample=described(URL("http://127.0.0.1:8000")),
    errors=(BadRequest,))
