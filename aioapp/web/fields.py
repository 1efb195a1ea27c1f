"""Fields that take exactly what they say, and say what they refuse in the words that callers already parse.

A marshmallow message here is `code|text`: the answer's `type` and `msg`. The codes are those of pydantic 1, which the
callers of the FastAPI example that this server takes over know how to read.
"""
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

COMMON = {
    "required": "value_error.missing|field required",
    "null": "type_error.none.not_allowed|none is not an allowed value",
}
VISIBLE = r"[^\s\u001C-\u001F\u0085\uFEFF]"
"""A character that is no white space. `\\S` alone means another set to Python, to JavaScript and to Rust."""
MOST_PROBLEMS = 20
"""That are told of one body. Nothing is looked for once there are more."""
MOST_ITEMS = 1000
"""Of a list that says nothing else."""
Value = Any


def messages(invalid: str) -> dict[str, Any]:
    return {**COMMON, **dict.fromkeys(("invalid", "special", "too_large"), invalid)}


class Whole(fields.Integer):
    """A whole JSON number. 12.0 is one, as JSON Schema has it; 1.9, text and booleans are none."""

    def _deserialize(self, value: Value, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return self._validated(value)


class Number(fields.Float):
    """A finite JSON number; text and booleans are none."""

    def _deserialize(self, value: Value, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return self._validated(value)


class Flag(fields.Boolean):
    """A JSON boolean; neither 1 nor "true" is one."""

    def _deserialize(self, value: Value, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def text(*, least: int = 0, most: int | None = None, blank: bool = True, **more: Any) -> fields.String:
    """Text of `least` to `most` characters; with `blank=False`, at least one of them is visible."""
    validators: list[Callable[[str], Any]] = []
    if least:
        validators.append(validate.Length(min=least, error=(
            "value_error.any_str.min_length|ensure this value has at least {min} characters")))
    if most:
        validators.append(validate.Length(max=most, error=(
            "value_error.any_str.max_length|ensure this value has at most {max} characters")))
    return fields.String(
        error_messages=messages("type_error.str|str type expected"),
        validate=validators if blank else [*validators, not_blank],
        **described(more, {} if blank else {"pattern": VISIBLE}))


def whole(least: int, most: int, **more: Any) -> fields.Integer:
    return Whole(
        strict=True, error_messages=messages("type_error.integer|value is not a valid integer"),
        validate=bounds(least, most), **described(more))


class Counted(fields.Integer):
    """A whole number in a query, where all is text: digits and nothing else."""

    def _deserialize(self, value: Value, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if not (value.isascii() and value.isdecimal() and len(value) < 20):
            raise self.make_error("invalid", input=value)
        return int(value)


class Day(fields.Date):
    """A day of the calendar, as RFC 3339 writes it; ISO 8601 has other ways too."""

    def _deserialize(self, value: Value, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> date:
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            with suppress(ValueError):
                return date.fromisoformat(value)
        raise self.make_error("invalid", input=value, obj_type="date")


def counted(least: int, most: int, **more: Any) -> Counted:
    return Counted(
        error_messages=messages("type_error.integer|value is not a valid integer"), validate=bounds(least, most),
        **described(more))


def day(**more: Any) -> Day:
    return Day(error_messages=messages("value_error.date|invalid date format"), **described(more))


def number(least: float, most: float, **more: Any) -> Number:
    return Number(
        error_messages=messages("type_error.float|value is not a valid float"), validate=bounds(least, most),
        **described(more))


def flag(**more: Any) -> Flag:
    return Flag(error_messages=messages("value_error.strictbool|value is not a valid boolean"), **described(more))


def choice(options: Sequence[str], **more: Any) -> fields.String:
    permitted = ", ".join(map(repr, options))
    one_of = validate.OneOf(options, error=f"value_error.const|unexpected value; permitted: {permitted}")
    return fields.String(
        error_messages=messages("type_error.str|str type expected"), validate=one_of, **described(more))


def several(options: Sequence[str], *, most: int, **more: Any) -> fields.String:
    """One to `most` of the options, with commas between them; one that is named twice counts once."""
    one, permitted = "|".join(options), ", ".join(map(repr, options))
    said = f"value_error.const|unexpected value; permitted: 1 to {most} of {permitted}, with commas between"
    return shaped(f"({one})(,({one})){{0,{most - 1}}}", said=said, **more)


def shaped(pattern: str, *, said: str, **more: Any) -> fields.String:
    """Text that the pattern fits, which OpenAPI tells as well; `said` is what is said of any other."""
    return fields.String(
        error_messages=messages("type_error.str|str type expected"), **described(more, {"pattern": f"^{pattern}$"}),
        validate=validate.Regexp(rf"(?:{pattern})\Z", error=said))


class Many(fields.List[Any]):
    """A JSON list. One that is too long is not looked into; nor is any further than faults are told."""

    def _deserialize(self, value: Value, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid", input=value)
        for check in self.validators:
            check(value)
        found, faults = [], {}
        for index, item in enumerate(value):
            try:
                found.append(self.inner.deserialize(item, **kwargs))
            except ValidationError as error:
                faults[index] = error.messages
                if len(faults) > MOST_PROBLEMS:
                    break
        if faults:
            raise ValidationError(faults)
        return found


def many(inner: fields.Field[Any] | type[fields.Field[Any]], *, most: int = MOST_ITEMS, **more: Any) -> Many:
    """At most so many of `inner`."""
    length = validate.Length(
        max=most, error="value_error.list.max_items|ensure this value has at most {max} items")
    return Many(inner, validate=length, error_messages=messages("type_error.list|value is not a valid list"),
                **described(more))


def one(schema: type[Schema], **more: Any) -> fields.Nested:
    return fields.Nested(
        schema, error_messages=messages("type_error.dict|value is not a valid dict"), **described(more))


def bounds(least: float, most: float) -> list[Callable[[Any], Any]]:
    return [
        validate.Range(min=least, error=(
            "value_error.number.not_ge|ensure this value is greater than or equal to {min}")),
        validate.Range(max=most, error=(
            "value_error.number.not_le|ensure this value is less than or equal to {max}")),
    ]


def not_blank(value: str) -> None:
    if value.replace("\ufeff", " ").isspace():  # what `VISIBLE` says, ten times as fast
        raise ValidationError("value_error.any_str.blank|must not be blank")


def described(more: dict[str, Any], extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Field arguments out of ours: an optional field takes null for absent, and what is about it is metadata."""
    about = {key: more.pop(key) for key in ("description", "example", "examples", "pattern") if key in more}
    more.setdefault("allow_none", not more.get("required", False))
    return {**more, "metadata": {**about, **(extra or {})}}
