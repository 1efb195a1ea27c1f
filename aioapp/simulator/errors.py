"""How Claude refuses: with a status, a type that follows from it, and a sentence."""
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Json = dict[str, Any]

ERROR_TYPES: Mapping[int, str] = MappingProxyType({
    401: "authentication_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
    500: "api_error", 529: "overloaded_error",
})


class ApiError(Exception):
    """A refusal in Claude's words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def error_of(status: int, reason: str) -> Json:
    return {"type": "error", "error": {"type": ERROR_TYPES.get(status, "invalid_request_error"), "message": reason}}
