"""The quick way to load a body is the schema's, or none: whatever a body holds, both say the same."""
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields, post_load, pre_load, validates

from aioapp.endpoints import OPERATIONS
from aioapp.endpoints.admin.key_schemas import WANTED, CreateKeyBody, RotateKeyBody
from aioapp.web.fields import flag, many, number, one, text, whole
from aioapp.web.operations.sse import stream_body
from aioapp.web.operations.websocket import AuthRequest, CancelRequest
from aioapp.web.quick_validation import derived
from aioapp.web.schemas import Body
from aioapp.web.validation import loaded

BODIES: dict[str, type[Body]] = {
    **{operation.name: operation.body for operation in OPERATIONS},
    **{f"{operation.name} streamed": stream_body(operation) for operation in OPERATIONS},
    "cancel": CancelRequest, "auth": AuthRequest, "create": CreateKeyBody, "rotate": RotateKeyBody,
}
EXAMPLES: list[tuple[str, Mapping[str, Any]]] = [
    *((operation.name, operation.example) for operation in OPERATIONS),
    ("chat", {"message": "Hi", "history": [{"role": "user", "content": "Hi"}] * 3, "temperature": 1, "effort": "low"}),
    ("cancel", {"type": "cancel", "id": "a"}), ("auth", {"type": "auth", "key": "k"}),
    ("create", WANTED), ("rotate", {"grace_seconds": 60}),
]


class Text(str):
    """A text that is not plainly one."""


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 9000), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["", " ", "\ufeff", "\ud800", "Hi", "low", "user", "text", "events", "x" * 10_001, b"Hi", 12.0,
                     1e400, 2**53 + 1, Text("Hi"), [], {}, ["a"], ["\n"], [None], [{"role": "user", "content": "Hi"}],
                     [{"role": "user", "content": None}], [["a"]], ("a",), object]))
NAMES = st.sampled_from(["more", "prompt", "Prompt", "role", "", "id", "type"])


def names(schema: Body) -> list[str]:
    return list(schema.fields)


@st.composite
def mutated(draw: st.DrawFn, name: str) -> Any:
    """A valid body, most often, of which something is changed, taken away or added."""
    schema = BODIES[name]()
    valid: dict[str, Any] = next((dict(example) for of, example in EXAMPLES if of == name.split()[0]), {})
    for _ in range(draw(st.integers(0, 3))):
        valid[draw(st.sampled_from(names(schema)) | NAMES)] = draw(ODD)
    gone: str = draw(st.sampled_from([*sorted(valid), "", ""]))
    valid.pop(gone, None)
    return draw(st.sampled_from([valid] * 9 + [[valid], None, "x", 5]))


def typed(value: Any) -> Any:
    """The value with the class of all that is in it: True is not 1, and 1 not 1.0."""
    match value:
        case dict():
            return {key: typed(item) for key, item in value.items()}
        case list():
            return [typed(item) for item in value]
    return type(value), repr(value)


@pytest.mark.parametrize("name", BODIES)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_loaded_quickly_is_what_the_schema_loads(name: str, data: st.DataObject) -> None:
    body, schema = data.draw(mutated(name)), BODIES[name]()
    assert schema.quick is not None
    quick = schema.quick(body)
    if quick is not None:
        assert typed(quick) == typed(schema.load(body))


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_what_callers_usually_send_is_loaded_quickly(name: str, example: Mapping[str, Any]) -> None:
    schema = BODIES[name]()
    assert schema.quick is not None and schema.quick(dict(example)) == loaded(schema, dict(example))


def test_validation_stays_the_schemas_where_a_body_is_wrong() -> None:
    schema = BODIES["generate"]()
    assert schema.quick is not None
    wrong: Any
    for wrong in ({}, {"prompt": ""}, {"prompt": "Hi", "max_tokens": 0}, {"prompt": "Hi", "more": 1}, [], None):
        assert schema.quick(wrong) is None
        with pytest.raises(ValidationError):
            schema.load(wrong)


class Upper(fields.String):
    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        return str(value).upper()


class OwnField(Body):
    prompt = Upper(required=True)


class OwnHook(Body):
    prompt = text()

    @post_load
    def louder(self, data: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {name: value.upper() for name, value in data.items()}


class OwnPreparation(Body):
    prompt = text()

    @pre_load
    def prepared(self, data: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"prompt": "X"}


class OwnCheck(Body):
    prompt = text()

    @validates("prompt")
    def check(self, value: str, data_key: str) -> None:
        raise ValidationError("never")


class OwnLoad(Body):
    prompt = text()

    def load(self, data: Any, **more: Any) -> Any:
        return {"prompt": "X"}


class OwnNested(Body):
    inner = one(OwnHook)


class OwnDefault(Body):
    prompt = fields.String(load_default=lambda: "now")


class OwnPlace(Body):
    prompt = fields.String(attribute="a.b")


class OwnItems(Body):
    prompts = many(Upper())


class Lenient(Schema):
    prompt = fields.String()

    class Meta:
        unknown = "include"


@pytest.mark.parametrize("schema", [
    OwnField, OwnHook, OwnPreparation, OwnCheck, OwnLoad, OwnNested, OwnDefault, OwnPlace, OwnItems, Lenient])
def test_a_schema_that_is_more_than_it_seems_is_always_asked(schema: type[Schema]) -> None:
    assert derived(schema(), loads=Body.load) is None


class Renamed(Body):
    at_most = whole(1, 5, data_key="atMost", load_default=3)
    precise = number(0.0, 1.0)
    live = flag(load_default=False)


def test_names_on_the_wire_and_defaults_are_the_schemas() -> None:
    schema = Renamed()
    assert schema.quick is not None
    for body in ({}, {"atMost": 2}, {"precise": 1, "live": True}):
        assert typed(schema.quick(body)) == typed(schema.load(body))
    assert schema.quick({"at_most": 2}) is None
