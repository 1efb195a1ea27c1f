"""Where the server's credentials for Claude come from and what state they are in, without any part of them."""
from aiohttp import web
from marshmallow import Schema, fields, validate

from aioapp.endpoints.health import AUTH_TYPES
from aioapp.web import answers
from aioapp.web.context import SERVICES
from aioapp.web.endpoint import Endpoint, json_response
from aioapp.web.schemas import SAMPLE


class StatusAnswer(Schema):
    is_valid = fields.Boolean(required=True)
    auth_type = fields.String(required=True, allow_none=True, validate=validate.OneOf(AUTH_TYPES))
    source = fields.String(required=True, allow_none=True)
    available_methods = fields.List(fields.String(), required=True)
    expires_at = fields.DateTime(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)
    summary = fields.String(required=True)


class AuthStatusAnswer(Schema):
    success = fields.Boolean(required=True, validate=validate.Equal(True))
    status = fields.Nested(StatusAnswer, required=True)
    client_initialized = fields.Boolean(required=True)
    timestamp = fields.DateTime(required=True)


async def auth_status(request: web.Request) -> web.Response:
    status = request.app[SERVICES].credentials.status()
    return json_response({
        "success": True,
        "status": {
            "is_valid": status.is_valid,
            "auth_type": status.kind,
            "source": status.source,
            "available_methods": list(status.available),
            "expires_at": status.expires_at and status.expires_at.isoformat(),
            "error": status.error,
            "summary": status.summary,
        },
        "client_initialized": status.is_usable,
        "timestamp": answers.now(),
    })


AUTH_STATUS = Endpoint(
    name="authStatus", path="/auth-status", handler=auth_status, access="authenticated",
    summary="State of the credentials for Claude",
    answers={200: {"application/json": AuthStatusAnswer}},
    sample={
        "success": True,
        "status": {
            "is_valid": True, "auth_type": "api_key", "source": "ANTHROPIC_API_KEY",
            "available_methods": ["ANTHROPIC_API_KEY"], "expires_at": None, "error": None,
            "summary": "Credentials come from ANTHROPIC_API_KEY.",
        },
        "client_initialized": True,
        "timestamp": SAMPLE["timestamp"],
    })
