"""Whether the server can answer and, if not, which part of it is ill; and whether it lives at all."""
from aiohttp import web
from marshmallow import Schema, fields, validate

from aioapp.credentials import Status
from aioapp.services import Services
from aioapp.web import answers
from aioapp.web.context import SERVICES
from aioapp.web.endpoint import Endpoint, json_response
from aioapp.web.schemas import SAMPLE

AUTH_TYPES = ("api_key", "oauth_token", "profile", "workload_identity", None)
WELL = "ok"


def check() -> fields.String:
    return fields.String(required=True, metadata={"description": f"`{WELL}`, or a sentence that says why not."})


class ChecksAnswer(Schema):
    credentials = check()
    database = check()
    keys = check()
    draining = check()


class HealthAnswer(Schema):
    status = fields.String(required=True, validate=validate.OneOf(("healthy", "unhealthy")))
    claude_client = fields.String(required=True, validate=validate.OneOf(("initialized", "not initialized")))
    auth_type = fields.String(required=True, allow_none=True, validate=validate.OneOf(AUTH_TYPES))
    model = fields.String(required=True)
    checks = fields.Nested(ChecksAnswer, required=True)
    timestamp = fields.DateTime(required=True)


class ReadyAnswer(Schema):
    status = fields.String(required=True, validate=validate.OneOf(("ready", "not ready")))
    checks = fields.Nested(ChecksAnswer, required=True)
    timestamp = fields.DateTime(required=True)


class LiveAnswer(Schema):
    status = fields.String(required=True, validate=validate.Equal("alive"))
    timestamp = fields.DateTime(required=True)


def checks(services: Services, status: Status) -> dict[str, str]:
    """What each part that is needed is like, in words for anybody: no secret, no path, and nothing of a caller's."""
    return {
        "credentials": credentials_check(status),
        "database": services.usage.trouble or WELL,
        "keys": WELL if services.authenticator.ready else "It is not known who may come in: the log says why.",
        "draining": "The server is shutting down." if services.drain.begun else WELL,
    }


def credentials_check(status: Status) -> str:
    if status.is_valid:
        return WELL
    if status.is_usable:
        return "Claude refused them: a call tries them again."
    if status.kind is None:
        return "There are none: /auth-status says where they are looked for."
    return "Those that were found cannot be used: /auth-status says why."


def serves(services: Services, status: Status) -> bool:
    """Whether generations can be served. What Claude refused is no reason against it: it may take that again."""
    return (status.is_usable and not services.drain.begun and services.authenticator.ready
            and services.usage.trouble is None)


async def health(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    status = services.credentials.status()
    initialized, healthy = status.is_usable and not services.drain.begun, serves(services, status)
    return json_response({
        "status": "healthy" if healthy else "unhealthy",
        "claude_client": "initialized" if initialized else "not initialized",
        "auth_type": status.kind if initialized else None,
        "model": services.model,
        "checks": checks(services, status),
        "timestamp": answers.now(),
    }, status=200 if healthy else 503)


async def ready(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    status = services.credentials.status()
    able = serves(services, status)
    return json_response({
        "status": "ready" if able else "not ready", "checks": checks(services, status), "timestamp": answers.now(),
    }, status=200 if able else 503)


async def live(request: web.Request) -> web.Response:
    return json_response({"status": "alive", "timestamp": answers.now()})


ALL_WELL = {"credentials": WELL, "database": WELL, "keys": WELL, "draining": WELL}

HEALTH = Endpoint(
    name="health", path="/health", handler=health, access="open", summary="Whether generations can be served",
    description="503 without credentials, without its database, and while the server shuts down.",
    answers={200: {"application/json": HealthAnswer}, 503: {"application/json": HealthAnswer}},
    sample={"status": "healthy", "claude_client": "initialized", "auth_type": "api_key", "model": SAMPLE["model"],
            "checks": ALL_WELL, "timestamp": SAMPLE["timestamp"]})

READY = Endpoint(
    name="healthReady", path="/health/ready", handler=ready, access="open", summary="Whether to send requests here",
    description="As `/health`, and no more than a load balancer asks for.",
    answers={200: {"application/json": ReadyAnswer}, 503: {"application/json": ReadyAnswer}},
    sample={"status": "ready", "checks": ALL_WELL, "timestamp": SAMPLE["timestamp"]})

LIVE = Endpoint(
    name="healthLive", path="/health/live", handler=live, access="open", summary="Whether the process runs",
    answers={200: {"application/json": LiveAnswer}},
    sample={"status": "alive", "timestamp": SAMPLE["timestamp"]})
