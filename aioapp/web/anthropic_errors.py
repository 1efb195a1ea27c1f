"""Our refusals as Anthropic's API tells its own: clients of it look at the status, the type, and then the message.

The shape: https://platform.claude.com/docs/en/api/errors. Which clients try again after which is in their SDKs:
`x-should-retry` overrules what they would do by the status.
"""
from collections.abc import Mapping
from typing import NamedTuple

from aioapp import errors
from aioapp.messages.events import Event
from aioapp.messages.frames import wire_of
from aioapp.web.answers import LONGEST_DETAIL, Object, encode

NOT_AGAIN = {"x-should-retry": "false"}
SOON = {"Retry-After": "1"}


class Told(NamedTuple):
    """How errors of these `kinds` are told; `headers` are beside those that they have in any shape, which win."""

    kinds: type[errors.AppError] | tuple[type[errors.AppError], ...]
    status: int
    type: str
    headers: Mapping[str, str] = {}


TABLE = (
    Told(errors.Unauthorized, 401, "authentication_error", NOT_AGAIN),
    Told(errors.BudgetSpent, 402, "billing_error", NOT_AGAIN),
    Told(errors.Forbidden, 403, "permission_error"),
    Told(errors.NotFound, 404, "not_found_error", NOT_AGAIN),
    Told(errors.RequestTimeout, 408, "timeout_error"),
    Told(errors.RequestTooLarge, 413, "request_too_large"),
    Told(errors.HeadTooLarge, 431, "invalid_request_error", NOT_AGAIN),
    Told(errors.VersionNotSupported, 505, "invalid_request_error", NOT_AGAIN),
    Told((errors.RateLimited, errors.LimitReached), 429, "rate_limit_error"),
    Told((errors.CredentialsRefused, errors.NotInitialized), 500, "api_error", NOT_AGAIN),
    Told(errors.Unavailable, 529, "overloaded_error", SOON),
    Told(errors.UpstreamFailed, 502, "api_error"),
    Told(errors.UpstreamTimeout, 504, "timeout_error"),
    Told((errors.BadRequest, errors.ValidationFailed, errors.UnsupportedMediaType, errors.Conflict), 400,
         "invalid_request_error"),
    Told(errors.AppError, 500, "api_error"),
)
"""The first row that fits is taken."""


def told(kind: type[errors.AppError]) -> Told:
    return next(row for row in TABLE if issubclass(kind, row.kinds))


def of_status(status: int) -> str:
    """The type of a refusal of aiohttp's own."""
    return {403: "permission_error", 404: "not_found_error", 413: "request_too_large"}.get(
        status, "invalid_request_error")


def problem(error: errors.AppError, *, request_id: str) -> Object:
    return described(told(type(error)).type, error.detail or error.title, request_id=request_id)


def described(kind: str, message: str, *, request_id: str) -> Object:
    """The body of an error, which is the data of an `error` event too."""
    return {"type": "error", "error": {"type": kind, "message": message[:LONGEST_DETAIL]}, "request_id": request_id}


def event(error: errors.AppError, *, request_id: str) -> bytes:
    """A stream's last frame."""
    return wire_of([Event("error", encode(problem(error, request_id=request_id)))])
