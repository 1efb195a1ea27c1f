"""What went wrong at Claude, as errors that a caller can see."""
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil

import jiter

from aioapp import errors
from aioapp.messages.events import Event, payload
from aioapp.upstream.transport import NotConnected, Silent

LONGEST_RETRY_AFTER = 3600
"""Seconds that a caller is asked to wait at most, whatever Claude asks."""
SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)
OVERLOADED_RETRY_AFTER = 5
"""Seconds a caller is asked to wait where Claude is overloaded and does not say for how long."""


def of_status(status: int, *, headers: Mapping[str, str], body: bytes) -> errors.AppError:
    """The error for an answer that is not 200. The caller gets Claude's own words where they are about the request."""
    message = message_of(body)
    match status:
        case 400 | 404 | 422:
            return errors.BadRequest(message)
        case 401 | 403:
            return errors.CredentialsRefused()
        case 402:
            return billing()
        case 413:
            return errors.RequestTooLarge(message)
        case 429:
            return errors.RateLimited(message, retry_after=retry_after(headers))
        case 529 | 503:
            return errors.Overloaded(message, retry_after=retry_after(headers) or OVERLOADED_RETRY_AFTER)
    return errors.UpstreamFailed(f"Claude answered with status {status}.")


def of_event(event: Event) -> errors.AppError:
    """The error for an `error` event in the middle of a stream."""
    try:
        said = payload(event)
    except errors.UpstreamFailed as error:
        return error
    match said:
        case {"error": {"type": str(kind), "message": str(message)}}:
            return KINDS.get(kind, errors.UpstreamFailed)(message)
    return errors.UpstreamFailed("Claude ended the stream with an error that it did not explain.")


def billing(message: str = "") -> errors.AppError:
    return errors.Unavailable("Claude's account has a billing problem.")


def overloaded(message: str) -> errors.AppError:
    return errors.Overloaded(message, retry_after=OVERLOADED_RETRY_AFTER)


KINDS: Mapping[str, Callable[[str], errors.AppError]] = {
    "invalid_request_error": errors.BadRequest,
    "not_found_error": errors.BadRequest,
    "request_too_large": errors.RequestTooLarge,
    "rate_limit_error": errors.RateLimited,
    "overloaded_error": overloaded,
    "billing_error": billing,
    "timeout_error": errors.UpstreamTimeout,
    "authentication_error": lambda message: errors.CredentialsRefused(),
    "permission_error": lambda message: errors.CredentialsRefused(),
}


def of_exception(error: Exception) -> errors.AppError:
    """The error for a connection that failed. The exception's own text stays out: it names addresses of ours."""
    match error:
        case Silent():
            return errors.UpstreamSilent()
        case NotConnected():
            return errors.UpstreamFailed("Claude could not be reached.")
    return errors.UpstreamFailed("The connection to Claude broke.")


def message_of(body: bytes) -> str | None:
    """Claude's message out of an error's body, if it has the usual shape."""
    try:
        match jiter.from_json(body):
            case {"error": {"message": str(message)}}:
                return message
    except ValueError:
        return None
    return None


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Whole seconds that Claude asks to wait, from 1 to an hour; None where it asks for none that can be understood.

    A date (RFC 9110 §10.2.3) is counted from the response's own: our clock may be another.
    """
    asked = headers.get("retry-after", "").strip()
    if SECONDS.fullmatch(asked):
        return bounded(float(asked))
    at = moment(asked)
    return None if at is None else bounded((at - (moment(headers.get("date", "")) or now())).total_seconds())


def bounded(seconds: float) -> int:
    return max(1, ceil(min(seconds, LONGEST_RETRY_AFTER)))


def moment(text: str) -> datetime | None:
    """The time of an HTTP date, if it is one."""
    try:
        found = parsedate_to_datetime(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)  # RFC 9110's oldest form has none
    except (ValueError, OverflowError):
        return None


def now() -> datetime:
    return datetime.now(UTC)
