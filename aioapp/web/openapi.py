"""The OpenAPI 3.1.0 document, out of the declarations that the endpoints are made of."""
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

import aioapp
from aioapp.errors import AppError, ValidationFailed
from aioapp.web.endpoint import Content, Endpoint
from aioapp.web.events import FRAMES
from aioapp.web.schemas import ErrorAnswer, ValidationAnswer

TAGS = (
    {"name": "Claude", "description": "Ask Claude."},
    {"name": "Server", "description": "How the server is."},
)
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The whole document; it is the same for the same endpoints."""
    spec = APISpec(
        title="aioapp", version=aioapp.__version__, openapi_version="3.1.0", plugins=[MarshmallowPlugin(named)],
        info={"description": (aioapp.__doc__ or "").strip(), "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/"}], tags=list(TAGS))
    for name, schema in FRAMES.items():
        spec.components.schema(name, **({"schema": schema} if isinstance(schema, type) else {"component": schema}))
    for endpoint in endpoints:
        spec.path(path=endpoint.path, operations={endpoint.method.lower(): described(endpoint)})
    return spec.to_dict()


def named(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__


def described(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name, "tags": [endpoint.tag], "summary": endpoint.summary,
        "responses": {**dict(answers(endpoint)), **dict(failures((*endpoint.errors, AppError)))},
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.body is not None:
        content = {"schema": endpoint.body, "example": dict(endpoint.example)}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def answers(endpoint: Endpoint) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, content in endpoint.answers.items():
        yield str(status), {"description": endpoint.summary, **body(content, endpoint.sample)}


def body(content: Content, sample: Mapping[str, Any] | str | None) -> dict[str, Any]:
    example = {} if sample is None else {"example": sample}
    return {"content": {kind: {"schema": schema, **example} for kind, schema in content.items()}} if content else {}


def failures(errors: Iterable[type[AppError]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One response a status, however many errors share it."""
    ordered = sorted(set(errors), key=lambda error: (error.status, error.title))
    for status, same in groupby(ordered, key=lambda error: error.status):
        schema = ValidationAnswer if status == ValidationFailed.status else ErrorAnswer
        described = {"description": "; ".join(error.title for error in same),
                     "content": {"application/json": {"schema": schema}}}
        yield str(status), described | ({"headers": RETRY_AFTER} if status in (429, 503) else {})
