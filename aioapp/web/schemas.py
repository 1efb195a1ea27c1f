"""The schemas that several endpoints share. What only one of them has stands in its own file."""
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import jiter
from marshmallow import RAISE, Schema, ValidationError, fields, missing, validate

from aioapp.errors import ValidationFailed
from aioapp.generation import Effort
from aioapp.web.fields import choice, many, number, text


class Body(Schema):
    """What a caller sends. Unknown fields are errors."""

    class Meta:
        unknown = RAISE

    error_messages = {
        "unknown": "value_error.extra|extra fields not permitted",
        "type": "type_error.dict|value is not a valid dict",
    }


class Options(Body):
    """What may be said of any generation beside its prompt."""

    temperature = number(0.0, 1.0, description="Left out, with a warning, for models that do not take it.")
    system = text(description="Instructions that hold for the whole conversation.")
    model = text(least=1, most=256, blank=False, description="Any model's id; the server's default without.")
    effort = choice(get_args(Effort), description="Left out, with a warning, for models that do not take it.")
    stop_sequences = many(text(least=1, blank=False, allow_none=False), description="Texts that end the answer.")


class UsageAnswer(Schema):
    input_tokens = fields.Integer(required=True)
    output_tokens = fields.Integer(required=True)
    cache_creation_input_tokens = fields.Integer(required=True)
    cache_read_input_tokens = fields.Integer(required=True)


class Answer(Schema):
    """One answer of Claude's."""

    success = fields.Boolean(required=True, validate=validate.Equal(True))
    response = fields.String(required=True, metadata={"description": "All text of the answer; it may be empty."})
    prompt = fields.String(required=True, metadata={"description": "The prompt, as it was sent."})
    model = fields.String(required=True, metadata={"description": "The model that answered."})
    timestamp = fields.DateTime(required=True)
    tokens_used = fields.Integer(required=True, metadata={"description": "Input, cached included, and output."})
    usage = fields.Nested(UsageAnswer, required=True)
    stop_reason = fields.String(required=True, allow_none=True, metadata={"example": "end_turn"})
    warnings = fields.List(fields.String(), required=True)
    request_id = fields.String(required=True)


SAMPLE = {
    "success": True,
    "response": "Async programming lets one thread wait for many things at once.",
    "prompt": "Explain async programming in Python",
    "model": "claude-sonnet-5-5",
    "timestamp": "2026-11-23T09:30:00+00:00",
    "tokens_used": 26,
    "usage": {"input_tokens": 12, "output_tokens": 14, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
    "stop_reason": "end_turn",
    "warnings": [],
    "request_id": "5f2c9a7d1e8b4c0c9d3e6f1a2b4c6d8e",
}


class ErrorAnswer(Schema):
    """Any failure but one of validation."""

    success = fields.Boolean(required=True, validate=validate.Equal(False))
    error = fields.String(required=True)
    detail = fields.String()
    timestamp = fields.DateTime(required=True)
    request_id = fields.String(required=True)


FAILED = {
    "success": False,
    "error": "Internal server error",
    "timestamp": SAMPLE["timestamp"],
    "request_id": SAMPLE["request_id"],
}


class Problem(Schema):
    loc = fields.List(fields.Raw(metadata={"type": ["string", "integer"]}), required=True,
                      metadata={"example": ["body", "prompt"]})
    msg = fields.String(required=True, metadata={"example": "field required"})
    type = fields.String(required=True, metadata={"example": "value_error.missing"})


class ValidationAnswer(Schema):
    """What is wrong with a request's body."""

    detail = fields.List(fields.Nested(Problem), required=True)


INVALID = {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}]}


def decoded(raw: bytes) -> Any:
    """The JSON value of a request's bytes. Raises `ValidationFailed` where they are none; NaN is no number."""
    try:
        return jiter.from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise ValidationFailed([row(["body"], f"value_error.jsondecode|{error}")]) from None


def loaded(schema: Schema, value: Any, *, where: str = "body") -> dict[str, Any]:
    """`value` as `schema` has it, null and absent being the same. Raises `ValidationFailed` with a row a problem.

    `where` the value stood is the first part of each row's `loc`.
    """
    try:
        body: dict[str, Any] = schema.load(value)
    except ValidationError as error:
        raise ValidationFailed(list(rows(normalized(error), [where]))) from None
    defaults = {name: schema.fields[name].load_default for name, given in body.items() if given is None}
    return {name: given for name, given in (body | defaults).items() if given is not None and given is not missing}


def normalized(error: ValidationError) -> Mapping[Any, Any]:
    messages: Mapping[Any, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]  # it has no hints
    return messages


def rows(messages: Mapping[Any, Any], loc: list[str | int]) -> Iterator[dict[str, Any]]:
    for key, below in messages.items():
        here = loc if key == "_schema" else [*loc, key]
        if isinstance(below, Mapping):
            yield from rows(below, here)
        else:
            yield from (row(here, message) for message in below)


def row(loc: list[str | int], message: str) -> dict[str, Any]:
    code, found, said = message.partition("|")
    return {"loc": loc, "msg": said if found else message, "type": code if found else "value_error"}
