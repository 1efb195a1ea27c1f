"""The frames of a stream as schemas, for the documentation: OpenAPI knows neither SSE nor WebSocket."""
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields, validate

from aioapp.web.schemas import Answer, ErrorAnswer, Problem


class StartFrame(Schema):
    """The answer has begun."""

    type = fields.String(required=True, validate=validate.Equal("start"))
    model = fields.String(required=True)
    request_id = fields.String(required=True)
    id = fields.String(metadata={"description": "On a WebSocket, the request's id."})


class DeltaFrame(Schema):
    """A piece of the answer's text."""

    type = fields.String(required=True, validate=validate.Equal("delta"))
    text = fields.String(required=True)
    id = fields.String(metadata={"description": "On a WebSocket, the request's id."})


class DoneFrame(Answer):
    """The whole answer, as it would have come in one piece."""

    type = fields.String(required=True, validate=validate.Equal("done"))
    id = fields.String(metadata={"description": "On a WebSocket, the request's id."})


class ErrorFrame(Schema):
    """What went wrong, on a WebSocket; `detail` holds the rows of a failed validation."""

    success = fields.Boolean(required=True, metadata={"example": False})
    error = fields.String(required=True)
    detail = fields.Raw(metadata={"anyOf": [
        {"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}}]})
    timestamp = fields.DateTime(required=True)
    id = fields.String(metadata={"description": "The request's id."})


def one_of(*names: str) -> dict[str, Any]:
    return {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}


FRAMES: Mapping[str, type[Schema] | dict[str, Any]] = {
    "Problem": Problem,
    "ErrorAnswer": ErrorAnswer,
    "StartFrame": StartFrame,
    "DeltaFrame": DeltaFrame,
    "DoneFrame": DoneFrame,
    "ErrorFrame": ErrorFrame,
    "StreamEvent": one_of("StartFrame", "DeltaFrame", "DoneFrame", "ErrorAnswer"),
    "SocketFrame": one_of("Answer", "StartFrame", "DeltaFrame", "DoneFrame", "ErrorFrame"),
}
