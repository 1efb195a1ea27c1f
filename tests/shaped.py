"""Random bodies, shaped by the schemas that they are held against: nearly right, and wrong in every way."""
import json
from typing import Any

from hypothesis import strategies as st
from marshmallow import Schema, fields, validate

from aioapp.web.fields import Many

TEXT = st.text(max_size=30) | st.sampled_from(
    ["", " ", "\ufeff", "\0", "\u0300\u0316" * 50, "\ufdfa" * 20, "x" * 10_001])
NUMBERS = st.integers(-2, 9000) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400)
PLAIN = st.none() | st.booleans() | NUMBERS | TEXT
JUNK = PLAIN | st.lists(PLAIN, max_size=5) | st.dictionaries(TEXT, PLAIN, max_size=3) | st.sampled_from([
    [{}] * 25, [0] * 600, {str(number): {} for number in range(50)}, [[[[]]]]])
CUTS = st.tuples(
    st.floats(0, 1), st.integers(0, 5), st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"[", b"{}"]))


def right(field: fields.Field[Any]) -> st.SearchStrategy[Any]:
    """What is of the field's kind, and not always within its bounds."""
    match field:
        case Many():
            return st.lists(right(field.inner) | JUNK, max_size=25)
        case fields.Nested():
            return shaped(field.schema)
        case fields.Integer():
            return st.integers(-2, 9000)
        case fields.Float():
            return st.floats(-0.1, 1.1)
        case fields.Boolean():
            return st.booleans()
    choices = [check.choices for check in field.validators if isinstance(check, validate.OneOf)]
    return st.sampled_from([*choices[0]]) if choices else st.text(min_size=1, max_size=20)


def shaped(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of which most fields are as they should be."""
    known = {name: st.one_of(right(field), right(field), right(field), JUNK) for name, field in schema.fields.items()}
    required = {name: known.pop(name) for name, field in schema.fields.items() if field.required}
    whole = st.fixed_dictionaries(required, optional=known)
    part = st.fixed_dictionaries({}, optional={**required, **known})
    return st.one_of(whole, whole, part, st.builds(dict.__or__, part, st.dictionaries(TEXT, JUNK, max_size=25)))


def encoded(value: Any, escaped: bool) -> bytes:
    return json.dumps(value, ensure_ascii=escaped).encode(errors="surrogatepass")


def spoilt(raw: bytes, cut: tuple[float, int, bytes]) -> bytes:
    """`raw` with a few bytes replaced by others."""
    place, length, instead = cut
    at = int(place * len(raw))
    return raw[:at] + instead + raw[at + length:]


def bodies(schema: Schema) -> st.SearchStrategy[bytes]:
    sound = st.builds(encoded, shaped(schema), st.booleans())
    return st.one_of(sound, sound, sound, st.builds(encoded, JUNK, st.booleans()), st.builds(spoilt, sound, CUTS))
