"""Whether the server can answer, and whether it lives at all."""
from aiohttp import web
from marshmallow import Schema, fields, validate

from aioapp.web import answers
from aioapp.web.context import SERVICES
from aioapp.web.endpoint import Endpoint, json_response
from aioapp.web.schemas import SAMPLE

AUTH_TYPES = ("api_key", "oauth_token", "profile", "workload_identity", None)


class HealthAnswer(Schema):
    status = fields.String(required=True, validate=validate.OneOf(("healthy", "unhealthy")))
    claude_client = fields.String(required=True, validate=validate.OneOf(("initialized", "not initialized")))
    auth_type = fields.String(required=True, allow_none=True, validate=validate.OneOf(AUTH_TYPES))
    model = fields.String(required=True)
    timestamp = fields.DateTime(required=True)


class LiveAnswer(Schema):
    status = fields.String(required=True, validate=validate.Equal("alive"))
    timestamp = fields.DateTime(required=True)


async def health(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    status = services.credentials.status()
    ready = status.is_usable and not services.drain.begun
    healthy = ready and services.authenticator.ready and services.usage.ready
    return json_response({
        "status": "healthy" if healthy else "unhealthy",
        "claude_client": "initialized" if ready else "not initialized",
        "auth_type": status.kind if ready else None,
        "model": services.model,
        "timestamp": answers.now(),
    }, status=200 if healthy else 503)


async def live(request: web.Request) -> web.Response:
    return json_response({"status": "alive", "timestamp": answers.now()})


HEALTH = Endpoint(
    name="health", path="/health", handler=health, access="open", summary="Whether generations can be served",
    description="503 without credentials, without its database, and while the server shuts down.",
    answers={200: {"application/json": HealthAnswer}, 503: {"application/json": HealthAnswer}},
    sample={"status": "healthy", "claude_client": "initialized", "auth_type": "api_key", "model": SAMPLE["model"],
            "timestamp": SAMPLE["timestamp"]})

LIVE = Endpoint(
    name="healthLive", path="/health/live", handler=live, access="open", summary="Whether the process runs",
    answers={200: {"application/json": LiveAnswer}},
    sample={"status": "alive", "timestamp": SAMPLE["timestamp"]})
