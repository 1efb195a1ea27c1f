"""What goes over streams and sockets as schemas, for the documentation: OpenAPI 3.1 knows neither.

An event is a server-sent event: its name, and its data as text. A frame is a WebSocket's: a JSON object.
"""
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from marshmallow import Schema, fields, validate

from aioapp.web.fields import choice
from aioapp.web.operations.operation import Operation
from aioapp.web.operations.websocket import AuthRequest, CancelRequest, Envelope
from aioapp.web.schemas import ErrorAnswer, Problem, name, ref, stream_of

Component = type[Schema] | Mapping[str, Any]


def echo() -> fields.String:
    return fields.String(metadata={"description": "On a WebSocket, the request's id, if it has one."})


class StartFrame(Schema):
    """The answer has begun."""

    type = fields.String(required=True, validate=validate.Equal("start"))
    model = fields.String(required=True)
    request_id = fields.String(required=True)
    id = echo()


class DeltaFrame(Schema):
    """A piece of the answer's text."""

    type = fields.String(required=True, validate=validate.Equal("delta"))
    text = fields.String(required=True)
    id = echo()


class AuthFrame(Schema):
    """The key was taken."""

    type = fields.String(required=True, validate=validate.Equal("auth"))
    success = fields.Boolean(required=True, validate=validate.Equal(True))
    timestamp = fields.DateTime(required=True)
    id = echo()


class ErrorFrame(Schema):
    """What went wrong, on a WebSocket; `detail` holds the rows of a failed validation."""

    success = fields.Boolean(required=True, validate=validate.Equal(False))
    error = fields.String(required=True)
    detail = fields.Raw(metadata={"anyOf": [
        {"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}}]})
    timestamp = fields.DateTime(required=True)
    id = echo()


SHARED: tuple[type[Schema], ...] = (
    Problem, ErrorAnswer, StartFrame, DeltaFrame, AuthFrame, ErrorFrame, CancelRequest, AuthRequest)


def components(operations: Sequence[Operation]) -> dict[str, Component]:
    """Every event and frame that `operations` are asked and answered in, by name."""
    answers = list(dict.fromkeys(operation.answer for operation in operations))
    asked = [request(operation, named=index > 0) for index, operation in enumerate(operations)]
    schemas: list[type[Schema]] = [*SHARED, *map(reply, answers), *map(done, answers), *asked]
    return {
        **{schema.__name__: schema for schema in schemas},
        **{stream_of(answer): {"oneOf": list(events(answer))} for answer in answers},
        "SocketRequest": one_of(*(schema.__name__ for schema in asked), "CancelRequest", "AuthRequest"),
        "SocketFrame": one_of(*(name(answer, kind) for answer in answers for kind in ("Reply", "Done")),
                              "StartFrame", "DeltaFrame", "AuthFrame", "ErrorFrame"),
    }


def request(operation: Operation, *, named: bool) -> type[Schema]:
    """The frame that asks for `operation`; with `named`, it has to say so."""
    kind = choice((operation.name,), required=named)
    bases = Envelope, operation.body
    return type(f"{operation.title}Request", bases, {"type": kind})


def reply(answer: type[Schema]) -> type[Schema]:
    """`answer` as the one frame that answers a request."""
    return answer.from_dict({"id": echo()}, name=name(answer, "Reply"))


def done(answer: type[Schema]) -> type[Schema]:
    """`answer` as the last frame of a stream."""
    kind = fields.String(required=True, validate=validate.Equal("done"))
    return answer.from_dict({"type": kind, "id": echo()}, name=name(answer, "Done"))


def events(answer: type[Schema]) -> Iterator[dict[str, Any]]:
    yield event("message", {"type": "string"}, required=["data"])  # the name of an event that has none
    for kind, schema in (
            ("start", "StartFrame"), ("delta", "DeltaFrame"), ("done", name(answer, "Done")), ("error", "ErrorAnswer")):
        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": ref(schema)}
        yield event(kind, data, required=["event", "data"])


def event(kind: str, data: Mapping[str, Any], *, required: list[str]) -> dict[str, Any]:
    return {"type": "object", "title": kind, "properties": {"event": {"const": kind}, "data": data},
            "required": required, "additionalProperties": False}


def one_of(*names: str) -> dict[str, Any]:
    return {"oneOf": list(map(ref, names))}
