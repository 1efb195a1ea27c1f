"""A quick way to load plain, valid bodies, derived from their marshmallow schema, which alone says what is valid.

It gives exactly what the schema would, or says that it does not know: then the schema is asked, for its answer and for
its errors. Of a schema that holds anything it does not know well (a field of another class, a hook), it knows nothing.
"""
from collections.abc import Callable, Iterable, Mapping
from math import inf, isfinite
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing, validate

from aioapp.web.fields import Flag, Many, Number, Whole

EXACT = 2**53
"""Below it, every whole number has a float of its own."""

Take = Callable[[Any], Any]
"""The loaded value of one that is plain and valid. Raises `Unsure`, or what a validator raises."""
Check = Callable[[Any], Any]
"""Raises what a validator raises."""
Quick = Callable[[Any], dict[str, Any] | None]
"""The loaded body, or None where the schema must be asked."""


class Unsure(Exception):
    """The schema must be asked."""


def derived(schema: Schema, *, loads: Callable[..., Any] = Schema.load) -> Quick | None:
    """The quick way for `schema`, None where there is none. `loads` is a `load` that adds nothing for valid bodies."""
    try:
        take = of_schema(schema, loads=loads)
    except Unsure:
        return None

    def quick(value: Any) -> dict[str, Any] | None:
        try:
            loaded: dict[str, Any] = take(value)
            return loaded
        except (Unsure, ValidationError):
            return None

    return quick


def of_schema(schema: Schema, *, loads: Callable[..., Any]) -> Take:
    kind = type(schema)
    ours = kind.load in (Schema.load, loads) and all(
        getattr(kind, name) is getattr(Schema, name) for name in ("_do_load", "_deserialize", "handle_error"))
    if not ours or any(schema._hooks.values()) or schema.many or schema.partial or schema.unknown != "raise":
        raise Unsure
    known = {field.data_key or name: (name, of_field(field, loads=loads), field.load_default, field.required)
             for name, field in schema.load_fields.items()}
    rows = list(known.items())

    def take(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise Unsure
        body, seen = {}, 0
        for key, (name, take, default, required) in rows:
            if key in value:
                body[name] = take(value[key])
                seen += 1
            elif required:
                raise Unsure
            elif default is not missing:
                body[name] = default
        if seen != len(value):  # something else is in it
            raise Unsure
        return body

    return take


def of_field(field: fields.Field[Any], *, loads: Callable[..., Any]) -> Take:
    if field.pre_load or field.post_load or field.attribute is not None or callable(field.load_default):
        raise Unsure
    inner = KINDS[type(field)](field, loads) if type(field) in KINDS else None
    if inner is None:
        raise Unsure
    if not field.validators:
        return inner
    sized = type(field) in SIZED
    least, most, checks = bounds_of(field.validators, sized=sized)

    def take(value: Any) -> Any:
        found = inner(value)
        if not least <= (len(found) if sized else found) <= most:
            raise Unsure
        for check in checks:
            check(found)
        return found

    return take


def bounds_of(validators: Iterable[Check], *, sized: bool) -> tuple[float, float, list[Check]]:
    """What plain bounds allow, of the length where it is `sized`, else of the value; and what else is to be checked."""
    least, most, others = -inf, inf, list[Check]()
    for check in validators:
        if type(check) is validate.Length and sized and check.equal is None:
            least, most = max(least, check.min or 0), min(most, inf if check.max is None else check.max)
        elif type(check) is validate.Range and not sized and check.min_inclusive and check.max_inclusive:
            least = max(least, -inf if check.min is None else check.min)
            most = min(most, inf if check.max is None else check.max)
        else:
            others.append(check)
    return least, most, others


def exactly(kind: type) -> Callable[[fields.Field[Any], Any], Take]:
    """Of values whose class is `kind` and no other, which are loaded as they are."""
    def take(value: Any) -> Any:
        if type(value) is not kind:
            raise Unsure
        return value

    return lambda field, loads: take


def of_number(field: fields.Field[Any], loads: Any) -> Take:
    def take(value: Any) -> float:
        if type(value) is float and isfinite(value):
            return value
        if type(value) is int and -EXACT < value < EXACT:
            return float(value)
        raise Unsure

    return take


def of_list(field: fields.Field[Any], loads: Any) -> Take:
    assert isinstance(field, Many)
    item = of_field(field.inner, loads=loads)

    def take(value: Any) -> list[Any]:
        if type(value) is not list or len(value) > MOST_ITEMS:
            raise Unsure
        return [item(one) for one in value]

    return take


def of_nested(field: fields.Field[Any], loads: Any) -> Take:
    assert isinstance(field, fields.Nested)
    if field.many or field.only or field.exclude or field.unknown:
        raise Unsure
    return of_schema(field.schema, loads=loads)


MOST_ITEMS = 500
"""A longer list is the schema's to look at: it stops where it is too long, or where there is too much wrong with it."""
SIZED = (fields.String, Many)
KINDS: Mapping[type, Callable[[fields.Field[Any], Any], Take]] = {
    fields.String: exactly(str), Whole: exactly(int), Flag: exactly(bool), Number: of_number, Many: of_list,
    fields.Nested: of_nested,
}
