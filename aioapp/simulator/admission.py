"""What is done to every request: its credentials, its errors in Claude's shape, and the headers of its answer."""
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from aiohttp import web
from aiohttp.typedefs import Handler

from aioapp.simulator.checks import LATEST
from aioapp.simulator.errors import ApiError, error_of
from aioapp.simulator.messages import new_id
from aioapp.simulator.wire import as_json

ORGANIZATION = "00000000-0000-4000-8000-000000000000"
RATE_LIMITS = (("requests", 4_000), ("tokens", 2_400_000), ("input-tokens", 2_000_000), ("output-tokens", 400_000))


@web.middleware
async def in_claudes_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Admits requests, and answers all that fail as Claude does."""
    try:
        if request.path.startswith("/v1/") and request.match_info.http_exception is None:
            admit(request.headers)
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        status, reason = 413, "Request exceeds the maximum size"
    except (ApiError, web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
        status, reason = error.status, error.reason
    except web.RequestPayloadError:
        status, reason = 400, "The request body could not be read"
    except RecursionError:
        status, reason = 400, "The request body is nested too deeply"
    known = new_id("req")
    return as_json({**error_of(status, reason), "request_id": known}, status, headers={"request-id": known})


def admit(headers: Mapping[str, str]) -> None:
    """Raises ApiError: 401 for the credentials, 400 for the API's version."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key, bearer = headers.get("x-api-key", ""), token if scheme.lower() == "bearer" else ""
    if not key and not bearer:
        raise ApiError(401, "x-api-key header is required")
    if "invalid" in key:
        raise ApiError(401, "invalid x-api-key")
    if "invalid" in bearer:
        raise ApiError(401, "Invalid bearer token")
    if (version := headers.get("anthropic-version")) is None:
        raise ApiError(400, "anthropic-version: header is required")
    if version not in ("2023-06-01", LATEST):
        raise ApiError(400, f'anthropic-version: "{version}" is not a valid version')


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """What Claude puts on every answer; the limits never run dry."""
    response.headers.setdefault("request-id", new_id("req"))
    response.headers["anthropic-organization-id"] = ORGANIZATION
    if response.status == 429:
        response.headers["retry-after"] = "1"
    if request.path != "/v1/messages":
        return
    reset = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, limit in RATE_LIMITS:
        for what, value in (("limit", limit), ("remaining", limit - 1), ("reset", reset)):
            response.headers[f"anthropic-ratelimit-{name}-{what}"] = str(value)
