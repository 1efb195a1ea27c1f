"""What a body may say, and in which words anything else is refused: those of pydantic 1, which callers parse."""
import json
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields

from aioapp.endpoints.admin.key_schemas import CreateKeyBody
from aioapp.endpoints.chat import MOST_TURNS, ChatBody
from aioapp.endpoints.generate import GENERATE, GenerateBody
from aioapp.errors import ValidationFailed
from aioapp.keys.key import MOST_PATTERNS
from aioapp.web.fields import MOST_PROBLEMS, VISIBLE, many, not_blank
from aioapp.web.operations.sse import stream_body
from aioapp.web.operations.websocket import Envelope
from aioapp.web.schemas import LONGEST_STOP, MOST_STOPS, MOST_TEXT
from aioapp.web.validation import LONGEST_NAME, MOST_VALUES, decoded, has_many_values, loaded
from tests.conftest import Serve

MISSING = ("value_error.missing", "field required")
EXTRA = ("value_error.extra", "extra fields not permitted")
NONE = ("type_error.none.not_allowed", "none is not an allowed value")
STRING = ("type_error.str", "str type expected")
INTEGER = ("type_error.integer", "value is not a valid integer")
FLOAT = ("type_error.float", "value is not a valid float")
BOOLEAN = ("value_error.strictbool", "value is not a valid boolean")
LIST = ("type_error.list", "value is not a valid list")
DICT = ("type_error.dict", "value is not a valid dict")
BLANK = ("value_error.any_str.blank", "must not be blank")
SHORT = ("value_error.any_str.min_length", "ensure this value has at least 1 characters")
LONG = ("value_error.any_str.max_length", "ensure this value has at most 10000 characters")
EFFORT = ("value_error.const", "unexpected value; permitted: 'low', 'medium', 'high', 'xhigh', 'max'")
MORE = ("value_error.more", "there are more problems than these 20")
ROLE = ("value_error.const", "unexpected value; permitted: 'user', 'assistant'")
FORMAT = ("value_error.const", "unexpected value; permitted: 'text', 'events'")


def too_long(most: int) -> tuple[str, str]:
    return "value_error.any_str.max_length", f"ensure this value has at most {most} characters"


def too_many(most: int) -> tuple[str, str]:
    return "value_error.list.max_items", f"ensure this value has at most {most} items"


def not_ge(least: float) -> tuple[str, str]:
    return "value_error.number.not_ge", f"ensure this value is greater than or equal to {least}"


def not_le(most: float) -> tuple[str, str]:
    return "value_error.number.not_le", f"ensure this value is less than or equal to {most}"


REFUSED: list[tuple[str, Any, tuple[str, str]]] = [
    ("prompt", "", SHORT), ("prompt", " \n\t", BLANK), ("prompt", "\u3000\u2003", BLANK), ("prompt", "\ufeff", BLANK),
    ("prompt", "x" * 10_001, LONG), ("prompt", 12, STRING), ("prompt", ["hi"], STRING), ("prompt", None, NONE),
    ("max_tokens", "12", INTEGER), ("max_tokens", 1.9, INTEGER), ("max_tokens", True, INTEGER),
    ("max_tokens", float("inf"), INTEGER), ("max_tokens", [1], INTEGER), ("max_tokens", {}, INTEGER),
    ("max_tokens", 0, not_ge(1)), ("max_tokens", -1, not_ge(1)), ("max_tokens", 8001, not_le(8000)),
    ("max_tokens", 10**4000, not_le(8000)), ("max_tokens", 1e300, not_le(8000)),
    ("temperature", "0.5", FLOAT), ("temperature", True, FLOAT), ("temperature", float("inf"), FLOAT),
    ("temperature", 10**400, FLOAT), ("temperature", [], FLOAT),
    ("temperature", -0.01, not_ge(0.0)), ("temperature", 1.01, not_le(1.0)),
    ("system", 1, STRING), ("system", {}, STRING), ("system", "x" * 500_001, too_long(500_000)),
    ("model", "", SHORT), ("model", " ", BLANK), ("model", False, STRING),
    ("effort", "LOW", EFFORT), ("effort", "", EFFORT), ("effort", 1, STRING),
    ("stop_sequences", "END", LIST), ("stop_sequences", {}, LIST), ("stop_sequences", ["x"] * 101, too_many(100)),
    ("promt", "Hi", EXTRA), ("stream", True, EXTRA), ("", 1, EXTRA),
]
TAKEN: list[tuple[str, Any]] = [
    ("max_tokens", 1), ("max_tokens", 8000), ("max_tokens", 12.0), ("temperature", 0), ("temperature", 1.0),
    ("prompt", "x" * 10_000), ("prompt", "\U0001f600" * 10_000), ("prompt", "\x00"), ("prompt", " x "), ("system", ""),
    ("effort", "max"), ("stop_sequences", []), ("stop_sequences", ["\nHuman:"]),
    ("stop_sequences", ["x" * 1000] * 100), ("system", "\u00e9" * 500_000),
]
NESTED: list[tuple[Any, list[str | int], tuple[str, str]]] = [
    ("x", [], LIST),
    ([None], [0], NONE),
    (["x"], [0], DICT),
    ([{"role": "user"}], [0, "content"], MISSING),
    ([{"content": "Hi"}], [0, "role"], MISSING),
    ([{"role": "system", "content": "Hi"}], [0, "role"], ROLE),
    ([{"role": None, "content": "Hi"}], [0, "role"], NONE),
    ([{"role": "user", "content": "Hi"}, {"role": "user", "content": " "}], [1, "content"], BLANK),
    ([{"role": "user", "content": ["Hi"]}], [0, "content"], STRING),
    ([{"role": "user", "content": "Hi", "name": "x"}], [0, "name"], EXTRA),
]
NO_JSON = [
    b"", b"{", b"{'prompt': 1}", b'{"prompt": NaN}', b'{"prompt": Infinity}', b'{"prompt": "Hi",}', b'{"a": 01}',
    b'{"prompt": "\\ud800"}', b'{"prompt": "\xff"}', b'{"prompt": "a\nb"}', b"[" * 100_000, b'{"a":' * 100_000,
    b"9" * 5000, b"{} {}", "\ufeff{}".encode(), "{}".encode("utf-16"),
]


def refusal(schema: Schema, value: Any) -> list[dict[str, Any]]:
    with pytest.raises(ValidationFailed) as caught:
        loaded(schema, value)
    return caught.value.problems


def problem(loc: list[str | int], said: tuple[str, str]) -> dict[str, Any]:
    return {"loc": ["body", *loc], "msg": said[1], "type": said[0]}


@pytest.mark.parametrize(("name", "value", "said"), REFUSED, ids=lambda value: repr(value)[:30])
def test_a_value_that_does_not_fit_is_refused_by_name(name: str, value: Any, said: tuple[str, str]) -> None:
    assert refusal(GenerateBody(), {"prompt": "Hi", name: value}) == [problem([name], said)]


@pytest.mark.parametrize(("history", "loc", "said"), NESTED, ids=lambda value: repr(value)[:30])
def test_a_fault_in_the_history_is_told_with_the_way_to_it(
        history: Any, loc: list[str | int], said: tuple[str, str]) -> None:
    assert refusal(ChatBody(), {"message": "Hi", "history": history}) == [problem(["history", *loc], said)]


@pytest.mark.parametrize(("stops", "said"), [([None], NONE), ([""], SHORT), ([" "], BLANK), ([1], STRING)])
def test_a_fault_in_a_list_is_told_with_its_place(stops: list[Any], said: tuple[str, str]) -> None:
    body = {"prompt": "Hi", "stop_sequences": ["END", *stops]}
    assert refusal(GenerateBody(), body) == [problem(["stop_sequences", 1], said)]


@pytest.mark.parametrize("body", [None, [], "x", 1, True, [{"prompt": "Hi"}]])
def test_a_body_that_is_no_object_is_refused_as_a_whole(body: Any) -> None:
    assert refusal(GenerateBody(), body) == [problem([], DICT)]


def test_every_fault_is_told_at_once() -> None:
    assert sorted(refusal(GenerateBody(), {"max_tokens": 0, "x": 1}), key=lambda row: str(row["loc"])) == [
        problem(["max_tokens"], not_ge(1)), problem(["prompt"], MISSING), problem(["x"], EXTRA)]


@pytest.mark.parametrize(("value", "said"), [(1, BOOLEAN), ("true", BOOLEAN), ([], BOOLEAN)])
def test_only_a_boolean_is_a_flag(value: Any, said: tuple[str, str]) -> None:
    assert refusal(Envelope(), {"stream": value}) == [problem(["stream"], said)]


def test_a_format_is_one_of_those_that_are_spoken() -> None:
    assert refusal(stream_body(GENERATE)(), {"prompt": "Hi", "format": "xml"}) == [problem(["format"], FORMAT)]


def test_null_for_what_is_optional_means_absent() -> None:
    optional = {name: None for name in GenerateBody().fields if name != "prompt"}
    assert loaded(GenerateBody(), {"prompt": "Hi", **optional}) == loaded(GenerateBody(), {"prompt": "Hi"})
    assert loaded(GenerateBody(), {"prompt": "Hi"}) == {"prompt": "Hi", "max_tokens": 4096}


@pytest.mark.parametrize(("name", "value"), TAKEN, ids=lambda value: repr(value)[:30])
def test_what_lies_within_the_bounds_is_taken_as_it_is(name: str, value: Any) -> None:
    assert loaded(GenerateBody(), {"prompt": "Hi", name: value})[name] == value


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    assert isinstance(loaded(GenerateBody(), decoded(b'{"prompt": "Hi", "max_tokens": 1.2e1}'))["max_tokens"], int)


@pytest.mark.parametrize("raw", NO_JSON, ids=lambda raw: repr(raw[:24]))
async def test_what_is_no_json_is_told_apart_from_what_does_not_fit(
        serve: Serve, http: aiohttp.ClientSession, raw: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{await serve()}/api/generate", data=raw, headers=headers) as response:
        assert response.status == 422
        [row] = (await response.json())["detail"]
    assert (row["loc"], row["type"]) == (["body"], "value_error.jsondecode")
    assert row["msg"]


def test_numbers_beyond_all_bounds_are_json_but_no_numbers() -> None:
    assert refusal(GenerateBody(), decoded(b'{"prompt": "Hi", "temperature": 1e999}')) == [
        problem(["temperature"], FLOAT)]
    assert refusal(GenerateBody(), decoded(b'{"prompt": "Hi", "max_tokens": -1e999}')) == [
        problem(["max_tokens"], INTEGER)]


def test_of_two_values_under_one_key_the_last_counts() -> None:
    assert decoded(b'{"prompt": "first", "prompt": "last"}') == {"prompt": "last"}


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert decoded(rb'"\ud83d\ude00"') == "\U0001f600"


def test_blank_is_what_any_dialect_of_regular_expressions_calls_white_space() -> None:
    to_python = {char for char in map(chr, range(0x110000)) if char.isspace()}
    to_javascript = {"\ufeff"}
    assert {char for char in map(chr, range(0x110000)) if not re.search(VISIBLE, char)} == to_python | to_javascript


def test_a_text_is_blank_where_it_holds_no_visible_character() -> None:
    for char in map(chr, range(0x110000)):
        if re.search(VISIBLE, char):
            not_blank(f" \ufeff{char}")
        else:
            with pytest.raises(ValidationError):
                not_blank(f" \ufeff{char}")


class Looks(fields.Integer):
    """Notes what it is shown, and takes numbers."""

    def __init__(self, seen: list[Any]) -> None:
        super().__init__(strict=True)
        self.seen = seen

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        self.seen.append(value)
        return super()._deserialize(value, attr, data, **kwargs)


@pytest.mark.parametrize(("items", "looked"), [
    (["x"] * 301, 0), (["x"] * 300, MOST_PROBLEMS + 1), ([*range(200), *["x"] * 100], 200 + MOST_PROBLEMS + 1),
    ([1] * 300, 300)])
def test_no_list_is_looked_into_any_further_than_its_faults_are_told(items: list[Any], looked: int) -> None:
    seen: list[Any] = []
    field = many(Looks(seen), most=300)
    try:
        assert field.deserialize(items) == items
    except ValidationError as error:
        assert len(error.messages) == min(looked or 1, MOST_PROBLEMS + 1)
    assert len(seen) == looked


@pytest.mark.parametrize(("schema", "field", "most"), [
    (ChatBody(), "history", MOST_TURNS), (GenerateBody(), "stop_sequences", MOST_STOPS),
    (CreateKeyBody(), "models", MOST_PATTERNS)])
def test_a_list_that_is_too_long_is_refused_whatever_it_holds(schema: Schema, field: str, most: int) -> None:
    body = {"message": "Hi"} if field == "history" else {"prompt": "Hi"} if field == "stop_sequences" else {"name": "a"}
    assert refusal(schema, {**body, field: [{}] * (most + 1)}) == [problem([field], too_many(most))]


def test_the_texts_in_lists_have_bounds_too() -> None:
    assert refusal(GenerateBody(), {"prompt": "Hi", "stop_sequences": ["x" * (LONGEST_STOP + 1)]}) == [
        problem(["stop_sequences", 0], too_long(LONGEST_STOP))]
    history = [{"role": "user", "content": "x" * (MOST_TEXT + 1)}]
    assert refusal(ChatBody(), {"message": "Hi", "history": history}) == [
        problem(["history", 0, "content"], too_long(MOST_TEXT))]


def test_twenty_problems_are_told_and_of_more_that_there_are() -> None:
    unknown = {str(number): 0 for number in range(100_000)}
    told = refusal(GenerateBody(), {"max_tokens": 0, **unknown})
    assert told[:2] == [problem(["prompt"], MISSING), problem(["max_tokens"], not_ge(1))]
    assert [(row["type"], row["msg"]) for row in told[2:20]] == [EXTRA] * 18
    assert told[20:] == [problem([], MORE)]
    just = refusal(GenerateBody(), {"prompt": "Hi", **dict(list(unknown.items())[:MOST_PROBLEMS])})
    assert [(row["type"], row["msg"]) for row in just] == [EXTRA] * 20
    history = [{str(number): 0 for number in range(1000)}] * MOST_TURNS
    told = refusal(ChatBody(), {"message": "Hi", "history": history})
    assert len(told) == 21 and told[20] == problem([], MORE)


class AccessRecord(dict[str, Any]):
    """Counts what is taken out of it."""

    taken = 0

    def __getitem__(self, name: str) -> Any:
        self.taken += 1
        return super().__getitem__(name)


def test_of_unknown_fields_no_more_are_looked_at_than_are_told() -> None:
    body = AccessRecord(prompt="Hi", **{str(number): 0 for number in range(1000)})
    assert len(refusal(GenerateBody(), body)) == MOST_PROBLEMS + 1
    assert body.taken <= len(GenerateBody().fields) + MOST_PROBLEMS + 1


def test_a_problem_tells_the_beginning_of_a_long_name() -> None:
    name = "n" * 2**20
    assert refusal(GenerateBody(), {"prompt": "Hi", name: 0}) == [problem([f"{name[:LONGEST_NAME]}…"], EXTRA)]
    assert refusal(GenerateBody(), {"prompt": "Hi", name[:LONGEST_NAME]: 0}) == [problem([name[:LONGEST_NAME]], EXTRA)]


@given(st.text(), st.booleans())
def test_what_looks_like_a_value_inside_a_text_is_none(text: str, escaped: bool) -> None:
    """It is counted like the parser does it, of which there may be too many values but not too much text."""
    again = json.dumps(f'{text},[{{"\\', ensure_ascii=escaped)[1:-1]
    assert not has_many_values(f'{{"a":["{again * 20_000}"]}}'.encode("utf-8", "surrogatepass"))
    assert not has_many_values(json.dumps([f"{text}\\", "," * 20_000]).encode())
    few, many_ = (json.dumps([again] * count).encode() for count in (MOST_VALUES // 2, MOST_VALUES + 2))
    assert has_many_values(many_) and not has_many_values(few)


@pytest.mark.parametrize("raw", [
    b"[" + b"0," * 10_001 + b"0]", b"[" + b"{}," * 10_000 + b"{}]", b"[" + b"[]," * 10_000 + b"[]]",
    b"[" * 10_001, b'{"a":{"b' + b'":{"' * 10_001])
def test_more_values_than_there_may_be_are_not_made(raw: bytes) -> None:
    with pytest.raises(ValidationFailed) as caught:
        decoded(raw)
    assert caught.value.problems == [problem([], ("value_error.jsondecode", "more than 10000 values"))]
