"""Every failure that a caller can see.

    AppError                    500  a fault of ours
    ├── BadRequest              400  Claude, or we, could not take the request
    ├── Unauthorized            401  no key, or none that we know
    ├── BudgetSpent             402  the key's budget
    │   └── ServerBudgetSpent        the budget of the whole server
    ├── Forbidden               403  the key, or the page that asks, may not do this
    ├── NotFound                404  nothing has this name
    ├── RequestTimeout          408  the request did not come whole in time
    ├── Conflict                409  the name is taken
    ├── RequestTooLarge         413
    ├── UnsupportedMediaType    415
    ├── ValidationFailed        422  the body does not fit its schema
    ├── UpgradeRequired         426  a plain GET on the WebSocket's path
    ├── RateLimited             429  Claude's own limit
    ├── LimitReached            429  our limit for this caller
    ├── HeadTooLarge            431  more headers than a request can need
    ├── Cancelled               499  the caller stopped its own generation
    ├── UpstreamFailed          502  Claude answered nonsense, cut the connection or was not there
    ├── Unavailable             503  nobody can be served now
    │   ├── NotInitialized           no credentials
    │   ├── CredentialsRefused       Claude does not take ours
    │   ├── Overloaded               Claude has too much to do
    │   ├── StoreUnavailable         the database with the keys and the accounts cannot be used
    │   ├── TooManyConnections       there is no place for one more
    │   └── ShuttingDown             we are about to end
    ├── UpstreamTimeout         504  no answer in time
    │   └── UpstreamSilent           for which we have stopped waiting
    └── VersionNotSupported     505  neither HTTP/1.1 nor HTTP/1.0

`web.answers` and `web.error_responses` put them on the wire.
"""
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple


Reason = Literal[
    "requests_per_minute", "tokens_per_minute", "concurrency", "budget", "connections", "over_tokens_per_minute",
    "over_budget", "unbounded", "model", "access", "expired", "revoked", "replaced"]
"""Which of its terms a key was refused for. `over_` says that the request alone is more than the limit or the budget,
`unbounded` that a strict budget cannot say what it would cost, `replaced` that the secret had a new one after it."""


class Said(NamedTuple):
    """An error as Claude told it; where it came in the middle of a stream, its status is 200 and its body the event."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AppError(Exception):
    """A failure with a status and a title for the caller.

    `detail` is for the caller too: it must hold neither secrets nor internals.
    `retry_after` is in seconds, kept as the number that goes on the wire. `refused` is there where it is the caller's
    own terms that refuse it, `key` is the name of a key that may no longer come in. `said` is kept where Claude's own
    words are to be passed on.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal server error"

    def __init__(
            self, detail: str | None = None, *, retry_after: int | None = None, refused: Reason | None = None,
            key: str | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.retry_after = retry_after
        self.refused = refused
        self.key = key
        self.said: Said | None = None


class BadRequest(AppError):
    status, title = 400, "Bad request"


class Unauthorized(AppError):
    status, title = 401, "A valid key is needed"


class BudgetSpent(AppError):
    status, title = 402, "The key's budget is spent"


class ServerBudgetSpent(BudgetSpent):
    title = "The server's budget is spent"


class Forbidden(AppError):
    status, title = 403, "Forbidden"


class NotFound(AppError):
    status, title = 404, "Not found"


class RequestTimeout(AppError):
    status, title = 408, "The request did not arrive in time"


class Conflict(AppError):
    status, title = 409, "Conflict"


class RequestTooLarge(AppError):
    status, title = 413, "Request too large"


class UnsupportedMediaType(AppError):
    status, title = 415, "Unsupported media type"


class ValidationFailed(AppError):
    """`problems` are the rows of the answer's `detail`: `{"loc": […], "msg": …, "type": …}`."""

    status, title = 422, "Validation failed"

    def __init__(self, problems: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.problems = list(problems)


class UpgradeRequired(AppError):
    status, title = 426, "Upgrade required"


class RateLimited(AppError):
    status, title = 429, "Claude's rate limit is reached"


class LimitReached(AppError):
    """`refused` names the limit, one of `callers.Limits`'s fields, or `connections`."""

    status, title = 429, "This server's limit for you is reached"


class HeadTooLarge(AppError):
    status, title = 431, "The request's headers are too large"


class Cancelled(AppError):
    status, title = 499, "Generation cancelled"


class UpstreamFailed(AppError):
    status, title = 502, "Claude's answer could not be used"


class Unavailable(AppError):
    status, title = 503, "Service unavailable"


class NotInitialized(Unavailable):
    title = "Claude client not initialized. Check authentication credentials."


class CredentialsRefused(Unavailable):
    title = "Claude refused this server's credentials"


class Overloaded(Unavailable):
    title = "Claude is overloaded"


class StoreUnavailable(Unavailable):
    title = "The server's database cannot be used"


class TooManyConnections(Unavailable):
    title = "Too many connections"


class ShuttingDown(Unavailable):
    title = "The server is shutting down"


class UpstreamTimeout(AppError):
    status, title = 504, "Claude did not answer in time"


class UpstreamSilent(UpstreamTimeout):
    """We have stopped waiting; Claude may still be at work, and charge for it."""


class VersionNotSupported(AppError):
    status, title = 505, "HTTP version not supported"
