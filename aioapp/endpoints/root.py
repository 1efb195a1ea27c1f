"""What is where: absolute URLs, as the caller reached the server."""
from aiohttp import web
from marshmallow import Schema, fields
from yarl import URL

import aioapp
from aioapp.errors import BadRequest
from aioapp.web.endpoint import Endpoint, json_response

PLACES = {
    "docs": "/docs", "redoc": "/redoc", "openapi": "/openapi.json", "health": "/health", "auth_status": "/auth-status",
    "generate": "/api/generate", "chat": "/api/chat", "stream": "/api/stream", "websocket": "/ws/generate",
}


class RootAnswer(Schema):
    name = fields.String(required=True)
    version = fields.String(required=True)
    description = fields.String(required=True)
    endpoints = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


async def root(request: web.Request) -> web.Response:
    base = reached_at(request)
    urls = {name: str(base.with_path(path)) for name, path in PLACES.items()}
    urls["websocket"] = str(URL(urls["websocket"]).with_scheme("wss" if base.scheme == "https" else "ws"))
    return json_response({
        "name": "aioapp", "version": aioapp.__version__,
        "description": (aioapp.__doc__ or "").strip(), "endpoints": urls})


def reached_at(request: web.Request) -> URL:
    """The server's URL as the caller sees it; a proxy that ends TLS says so with `X-Forwarded-Proto`."""
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme).lower()
    try:
        return URL.build(scheme="https" if scheme == "https" else "http", authority=request.host)
    except ValueError:
        raise BadRequest("The Host header names no host.") from None


ROOT = Endpoint(
    name="root", path="/", handler=root, summary="What is where",
    answers={200: {"application/json": RootAnswer}}, errors=(BadRequest,))
