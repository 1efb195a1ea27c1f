"""What is where: absolute URLs, as the caller reached the server."""
from aiohttp import web
from marshmallow import Schema, fields
from yarl import URL

import aioapp
from aioapp.errors import BadRequest
from aioapp.web.proxies import reached_at
from aioapp.web.endpoint import Endpoint, json_response

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
    return json_response(described(reached_at(request)))


ROOT = Endpoint(
    name="root", path="/", handler=root, access="open", summary="What is where",
    answers={200: {"application/json": RootAnswer}}, sample=described(URL("http://127.0.0.1:8000")),
    errors=(BadRequest,))
