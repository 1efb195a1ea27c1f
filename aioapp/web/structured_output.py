"""JSON that Claude is to answer with (https://platform.claude.com/docs/en/build-with-claude/structured-outputs).

A marshmallow schema says which. It goes to Claude as a JSON schema, as far as Claude takes those: of what a text or a
number may be, bounds are told in words. What comes back is held against all of the schema.
"""
from collections.abc import Mapping
from functools import cache
from typing import Any

from marshmallow import Schema, fields, validate

from aioapp.errors import UpstreamFailed, ValidationFailed
from aioapp.messages.events import Message
from aioapp.web.validation import decoded, patch_of

Json = dict[str, Any]
KINDS: tuple[tuple[type[fields.Field[Any]], Json], ...] = (
    (fields.Boolean, {"type": "boolean"}), (fields.Integer, {"type": "integer"}), (fields.Float, {"type": "number"}),
    (fields.Date, {"type": "string", "format": "date"}), (fields.DateTime, {"type": "string", "format": "date-time"}),
    (fields.Email, {"type": "string", "format": "email"}), (fields.UUID, {"type": "string", "format": "uuid"}),
    (fields.String, {"type": "string"}),
)
"""The first that a field is one of says what it is in JSON. A date is a kind of time to marshmallow, so it is first."""
UNFINISHED = {"max_tokens": "max_tokens ended it", "refusal": "Claude refused to give it"}
MOST_CHOICES = 100
"""Of whole numbers, that are told one by one."""
MOST_TOLD = 5
"""Problems of an answer that are told."""


@cache
def json_schema(schema: type[Schema]) -> Json:
    """What Claude is told of `schema`. Raises `TypeError` for a field that it cannot be told of."""
    return of_schema(schema(), ())


def of_schema(schema: Schema, within: tuple[type[Schema], ...]) -> Json:
    if type(schema) in within:
        raise TypeError(f"{type(schema).__name__} holds itself: Claude cannot be asked for that.")
    known = {field.data_key or name: field for name, field in schema.load_fields.items()}
    return {"type": "object",
            "properties": {name: of_field(field, (*within, type(schema))) for name, field in known.items()},
            "required": [name for name, field in known.items() if field.required], "additionalProperties": False}


def of_field(field: fields.Field[Any], within: tuple[type[Schema], ...]) -> Json:
    plain, choices = of_kind(field, within), choices_of(field)
    if choices:
        plain = {"type": plain["type"], "enum": choices}
    if field.allow_none:
        plain = {"anyOf": [plain, {"type": "null"}]}
    told = [field.metadata["description"]] if "description" in field.metadata else []
    told += [] if choices else bounds(field)
    return {**plain, "description": " ".join(told)} if told else plain


def of_kind(field: fields.Field[Any], within: tuple[type[Schema], ...]) -> Json:
    match field:
        case fields.Nested():
            one = of_schema(field.schema, within)
            return {"type": "array", "items": one} if field.schema.many else one
        case fields.List():
            return {"type": "array", "items": of_field(field.inner, within)}
    for kind, plain in KINDS:
        if isinstance(field, kind):
            return plain
    raise TypeError(f"Claude cannot be asked for a field of the class {type(field).__name__}.")


def choices_of(field: fields.Field[Any]) -> list[Any]:
    """The values that it may have, where they are few: those Claude is held to."""
    for check in field.validators:
        if isinstance(check, validate.OneOf):
            return list(check.choices)
    ranges = [check for check in field.validators if isinstance(check, validate.Range)]
    least = [check.min for check in ranges if check.min is not None]
    most = [check.max for check in ranges if check.max is not None]
    if isinstance(field, fields.Integer) and least and most and min(most) - max(least) < MOST_CHOICES:
        return list(range(max(least), min(most) + 1))
    return []


def bounds(field: fields.Field[Any]) -> list[str]:
    """What holds for a value, in words: Claude takes no schema that has them."""
    what = " items" if isinstance(field, fields.List) else " characters" if isinstance(field, fields.String) else ""
    checks = [check for check in field.validators if isinstance(check, (validate.Range, validate.Length))]
    told = []
    for check in checks:
        told += [f"At least {check.min}{what}."] if check.min is not None else []
        told += [f"At most {check.max}{what}."] if check.max is not None else []
    return told


def read(message: Message, schema: type[Schema]) -> Json:
    """The answer as `schema` has it. Raises `UpstreamFailed`, without Claude's words, where it is anything else."""
    wrong = "Claude's answer is not the JSON that was asked for: "
    if message.stop_reason in UNFINISHED:
        raise UpstreamFailed(f"{wrong}{UNFINISHED[message.stop_reason]}.")
    try:
        return patch_of(schema(), decoded(message.text.encode(errors="surrogatepass")), where="answer")
    except ValidationFailed as failure:
        raise UpstreamFailed(wrong + "; ".join(map(told_of, failure.problems[:MOST_TOLD]))) from None


def told_of(problem: Mapping[str, Any]) -> str:
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
