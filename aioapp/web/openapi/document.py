"""The OpenAPI 3.1.0 document, out of the declarations that the endpoints are made of."""
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import groupby
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

import aioapp
from aioapp.errors import AppError, ValidationFailed
from aioapp.web.anthropic_errors import described as described_error, told
from aioapp.web.endpoint import Access, Content, Endpoint, Shape
from aioapp.web.middlewares import SANE_ID
from aioapp.web.openapi import introduction
from aioapp.web.openapi.streams import components
from aioapp.web.operations.operation import Operation
from aioapp.web.schemas import FAILED, INVALID, AnthropicErrorAnswer, ErrorAnswer, ValidationAnswer

HEADERS: Mapping[str, Mapping[str, Any]] = {
    "X-Request-ID": {"description": "The request's name in the log: the caller's, if that is sane, else a new one.",
                     "required": True, "schema": {"type": "string", "pattern": f"^{SANE_ID.pattern}$"}},
    "X-Process-Time": {"description": "Seconds from the request's arrival to the answer's head.",
                       "required": True, "schema": {"type": "number", "minimum": 0}},
    "Retry-After": {"description": "Seconds to wait before the next try.",
                    "schema": {"type": "integer", "minimum": 1}},
    "RateLimit-Policy": {"description": "Your limits, as draft-ietf-httpapi-ratelimit-headers has it, if you have any.",
                         "schema": {"type": "string"}},
    "RateLimit": {"description": "What is left of them, and the seconds until there is more.",
                  "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to show a key.", "required": True, "schema": {"type": "string"}},
    "Upgrade": {"description": "What to ask for.", "required": True, "schema": {"type": "string"}},
}
NAMES = re.compile(r"{(\w+)}")
ALWAYS = ("X-Request-ID", "X-Process-Time")
SOMETIMES: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",), 426: ("Upgrade",), 429: ("Retry-After",), 503: ("Retry-After",),
    529: ("Retry-After",)}
LIMITED = ("RateLimit-Policy", "RateLimit")
SCHEMES: Mapping[str, Mapping[str, str]] = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key of this server."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same key, as a bearer token."},
}


def document(endpoints: Iterable[Endpoint], operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole document but its servers; it is the same for the same endpoints."""
    spec = APISpec(
        title="aioapp", version=aioapp.__version__, openapi_version="3.1.0", plugins=[MarshmallowPlugin(named)],
        info={"description": introduction.TEXT.strip(), "license": {"name": "MIT", "identifier": "MIT"}},
        tags=list(introduction.TAGS))
    for name, header in HEADERS.items():
        spec.components.header(name, dict(header))
    for name, scheme in SCHEMES.items():
        spec.components.security_scheme(name, dict(scheme))
    for name, schema in components(operations).items():
        spec.components.schema(name, **({"schema": schema} if isinstance(schema, type) else {"component": schema}))
    for endpoint in endpoints:
        if endpoint.documented:
            spec.path(path=endpoint.path, operations={endpoint.method.lower(): described(endpoint)})
    return spec.to_dict()


def named(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__


def described(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name, "tags": [endpoint.tag], "summary": endpoint.summary,
        "responses": {**dict(answers(endpoint)), **dict(failures(endpoint))},
        "security": security(endpoint.access),
    }
    parameters: list[dict[str, Any]] = [in_path(name) for name in NAMES.findall(endpoint.path)]
    if endpoint.query is not None:
        parameters.append({"in": "query", "schema": endpoint.query})
    if parameters:
        operation["parameters"] = parameters
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.body is not None:
        content = {"schema": endpoint.body, "example": dict(endpoint.example)}
        operation["requestBody"] = {
            "required": endpoint.body_required, "content": {kind: dict(content) for kind in endpoint.kinds}}
    return operation


def security(access: Access) -> list[dict[str, list[str]]]:
    """The ways in which a key is shown; an empty one says that none need be."""
    shown: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]
    return [] if access == "open" else shown if access == "admin" else [*shown, {}]


def in_path(name: str) -> dict[str, Any]:
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string"}}


def answers(endpoint: Endpoint) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, content in endpoint.answers.items():
        said, sample = (endpoint.summary, endpoint.sample) if status < 300 else (HTTPStatus(status).phrase, None)
        yield str(status), {"description": said, "headers": headers(status), **body(content, sample)}


def body(content: Content, sample: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """A stream that has an example of its own is not given that of the answer in one piece."""
    example = {} if sample is None else {"example": sample}
    return {"content": {
        kind: {"schema": schema, **({} if isinstance(schema, Mapping) and "examples" in schema else example)}
        for kind, schema in content.items()}} if content else {}


def failures(endpoint: Endpoint) -> Iterator[tuple[str, dict[str, Any]]]:
    """One response a status, however many errors share it."""
    shape = endpoint.shape

    def status_of(error: type[AppError]) -> int:
        return told(error).status if shape == "anthropic" else error.status

    every: set[type[AppError]] = {*endpoint.failures, AppError}
    ordered = sorted(every, key=lambda error: (status_of(error), error.title))
    for status, group in groupby(ordered, key=status_of):
        same = list(group)
        schema = (AnthropicErrorAnswer if shape == "anthropic" else
                  ValidationAnswer if ValidationFailed in same else ErrorAnswer)
        content = {"schema": schema, "examples": {
            error.__name__: {"value": example(error, shape=shape)} for error in same}}
        yield str(status), {"description": "; ".join(error.title for error in same), "headers": headers(status),
                            "content": {"application/json": content}}


def example(error: type[AppError], *, shape: Shape) -> dict[str, Any]:
    if shape == "anthropic":
        return described_error(told(error).type, error.title, request_id=str(FAILED["request_id"]))
    return INVALID if error is ValidationFailed else {**FAILED, "error": error.title}


def headers(status: int) -> dict[str, str]:
    """References to the headers that an answer has; apispec takes a component's name for one."""
    return {name: name for name in (*ALWAYS, *LIMITED, *SOMETIMES.get(status, ()))}
