"""One declaration makes an endpoint: its route, what it takes, and its chapter in the OpenAPI document."""
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import HttpVersion11, hdrs, web
from marshmallow import Schema

from aioapp.errors import AppError, Forbidden, LimitReached, StoreUnavailable, Unauthorized, UnsupportedMediaType
from aioapp.web import answers
from aioapp.web.validation import decoded, give_way, loaded

JSON = {"Content-Type": "application/json"}
KINDS = ("application/json",)
MERGE_PATCH = ("application/merge-patch+json", *KINDS)
"""A JSON merge patch (RFC 7396 §4), and what most clients call it."""

Shape = Literal["aioapp", "anthropic"]
"""In whose shape its failures are told."""
Access = Literal["open", "authenticated", "metered", "socket", "admin", "local_or_admin", "custom"]
"""Whom an endpoint is for: anybody · who shows a key, if there are any · the same, counted as one request · the same,
who may show it in the first frame · admin keys · programs of this machine and admin keys · whom its handler lets in."""

ADMISSION_ERRORS: Mapping[Access, tuple[type[AppError], ...]] = {
    "open": (Forbidden,),
    "authenticated": (Unauthorized, Forbidden, StoreUnavailable),
    "metered": (Unauthorized, Forbidden, LimitReached, StoreUnavailable),
    "socket": (Unauthorized, Forbidden, StoreUnavailable),
    "admin": (Unauthorized, Forbidden, StoreUnavailable),
    "local_or_admin": (Unauthorized, Forbidden, StoreUnavailable),
    "custom": (Unauthorized, Forbidden, StoreUnavailable),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Content = Mapping[str, type[Schema] | Mapping[str, Any]]
"""Media types, each with the marshmallow or JSON schema of what is sent as that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`name` is the operation's id, `answers` what it sends by status, `sample` an example of the first of them.

    `kinds` are the media types in which it takes its body.
    """

    name: str
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: str
    handler: Handler
    summary: str
    description: str = ""
    tag: str = "Server"
    access: Access = "metered"
    shape: Shape = "aioapp"
    query: type[Schema] | None = None
    body: type[Schema] | None = None
    kinds: tuple[str, ...] = KINDS
    body_required: bool = True
    example: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[int, Content] = field(default_factory=dict)
    sample: Mapping[str, Any] | str | None = None
    errors: tuple[type[AppError], ...] = ()
    documented: bool = True

    @property
    def failures(self) -> tuple[type[AppError], ...]:
        """All errors that it answers with: its own, and those of whoever asks without being let in."""
        return (*self.errors, *ADMISSION_ERRORS[self.access])

    @property
    def route(self) -> web.RouteDef:
        return web.route(self.method, self.path, self.handler, expect_handler=expected)


async def expected(request: web.Request) -> None:
    """Tell a caller who asks first to go on, and pass over any other expectation, as RFC 9110 §10.1.1 allows."""
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # it is no part of the answer


async def read_body(
        request: web.Request, schema: Schema, *, kinds: Sequence[str] = KINDS,
        load: Callable[[Schema, Any], dict[str, Any]] = loaded) -> dict[str, Any]:
    """What the request's JSON says, as `schema` has it and `load` takes it.

    Raises `UnsupportedMediaType` or `ValidationFailed`; aiohttp raises 413.
    """
    if request.content_type not in kinds:
        raise UnsupportedMediaType(f"Send the body as JSON, with the header Content-Type: {' or '.join(kinds)}.")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body as it is, without the header Content-Encoding.")
    raw = await request.read()
    value = decoded(raw)
    await give_way(raw)
    body = load(schema, value)
    await give_way(raw)
    return body


def read_query(request: web.Request, schema: Schema) -> dict[str, Any]:
    """What the request's query says. Raises `ValidationFailed`."""
    return loaded(schema, dict(request.query), where="query")


def json_response(body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None,
                  ) -> web.Response:
    return web.Response(body=answers.encode(body), status=status, headers={**JSON, **(headers or {})})
