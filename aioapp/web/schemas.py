"""The schemas that several endpoints share. What only one of them has stands in its own file."""
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, get_args

from marshmallow import RAISE, Schema, fields, validate

from aioapp.messages.prompt import Effort
from aioapp.web.fields import MOST_PROBLEMS, choice, many, number, text
from aioapp.web.quick_validation import Quick, derived

MOST_TEXT = 500_000
"""Characters of a conversation's turn, or of what holds for all of it. A body of 1 MiB holds little more."""
MOST_STOPS = 100
LONGEST_STOP = 1000
"""Characters."""


class Body(Schema):
    """What a caller sends. Unknown fields are errors."""

    class Meta:
        unknown = RAISE

    error_messages = {
        "unknown": "value_error.extra|extra fields not permitted",
        "type": "type_error.dict|value is not a valid dict",
    }

    @cached_property
    def quick(self) -> Quick | None:
        """The quick way to load what is plain and valid."""
        return derived(self, loads=Body.load)

    def load(self, data: Any, **more: Any) -> Any:
        """Of unknown fields, no more are looked at than are told: each costs, and there may be any number of them."""
        if isinstance(data, Mapping) and len(data) > len(self.fields) + MOST_PROBLEMS:
            data = trimmed(data, known=self.fields)
        return super().load(data, **more)


def trimmed(data: Mapping[str, Any], *, known: Iterable[str]) -> dict[str, Any]:
    """What is known in `data`, and one more of what is not than is told."""
    own = {name: data[name] for name in known if name in data}
    return own | dict(islice(((name, data[name]) for name in data if name not in own), MOST_PROBLEMS + 1))


class Options(Body):
    """What may be said of any generation beside its prompt."""

    temperature = number(0.0, 1.0, description="Left out, with a warning, for models that do not take it.")
    system = text(most=MOST_TEXT, description="Instructions that hold for the whole conversation.")
    model = text(least=1, most=256, blank=False, description="Any model's id; the server's default without.")
    effort = choice(get_args(Effort), description="Left out, with a warning, for models that do not take it.")
    stop_sequences = many(text(least=1, most=LONGEST_STOP, blank=False, allow_none=False), most=MOST_STOPS,
                          description="Texts that end the answer.")


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


class AnthropicError(Schema):
    type = fields.String(required=True)
    message = fields.String(required=True)


class AnthropicErrorAnswer(Schema):
    """A failure on a path of Anthropic's API: ours in this shape, Claude's own word for word."""

    type = fields.String(required=True, validate=validate.Equal("error"))
    error = fields.Nested(AnthropicError, required=True)
    request_id = fields.String()


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

    detail = fields.List(fields.Nested(Problem), required=True, validate=validate.Length(max=MOST_PROBLEMS + 1))


INVALID = {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}]}


def stream_of(answer: type[Schema]) -> str:
    """The name of the schema of a stream's events."""
    return name(answer, "StreamEvent")


def name(answer: type[Schema], suffix: str) -> str:
    return answer.__name__.removesuffix("Answer") + suffix


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
