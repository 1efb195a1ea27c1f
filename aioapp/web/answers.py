"""What goes over the wire: answers, frames and errors as JSON. The only place where an error becomes an answer."""
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any

from aioapp.errors import AppError, ValidationFailed
from aioapp.messages.billing import COUNTS
from aioapp.messages.events import Message

Object = dict[str, Any]
LONGEST_DETAIL = 4000
"""Characters of an error's detail: Claude's words may be in it, and they may quote the caller's."""
counts = attrgetter(*COUNTS)
JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def now() -> str:
    """ISO 8601 in UTC, with offset."""
    return datetime.now(UTC).isoformat()


def encode(value: Mapping[str, Any]) -> bytes:
    """JSON on one line, whoever reads it: some clients break lines at U+0085, U+2028 and U+2029 too."""
    text = JSON.encode(value)
    return text.encode() if text.isascii() else on_one_line(text)


def encode_text(text: str) -> bytes:
    """The same of a text alone, several times as fast."""
    quoted = encode_basestring(text)
    return quoted.encode() if quoted.isascii() else on_one_line(quoted)


def on_one_line(text: str) -> bytes:
    return text.replace("\u0085", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def answer(message: Message, *, prompt: str, warnings: tuple[str, ...], request_id: str) -> Object:
    """What `/api/generate` answers."""
    usage = message.usage
    return {
        "success": True,
        "response": message.text,
        "prompt": prompt,
        "model": message.model,
        "timestamp": now(),
        "tokens_used": usage.total,
        "usage": dict(zip(COUNTS, counts(usage))),
        "stop_reason": message.stop_reason,
        "warnings": list(warnings),
        "request_id": request_id,
    }


def problem(error: AppError, *, request_id: str | None = None) -> Object:
    """The error object. A request id is left out where there is none to tell, as in a WebSocket's frames."""
    body: Object = {"success": False, "error": error.title}
    if isinstance(error, ValidationFailed):
        body["detail"] = error.problems
    elif error.detail is not None:
        body["detail"] = error.detail[:LONGEST_DETAIL]
    body["timestamp"] = now()
    if request_id is not None:
        body["request_id"] = request_id
    return body


def rejection(error: AppError, *, request_id: str) -> Object:
    """The body of an HTTP error: a failed validation has the shape that FastAPI gave it, all else is a `problem`."""
    if isinstance(error, ValidationFailed):
        return {"detail": error.problems}
    return problem(error, request_id=request_id)
