"""What Claude is told of the JSON that it is to answer with, and what is made of the JSON that it answers."""
from typing import Any

import pytest
from marshmallow import Schema, fields, validate

from aioapp import fields as ours
from aioapp.endpoints.generate import GENERATE
from aioapp.errors import UpstreamFailed
from aioapp.messages.events import Message
from aioapp.messages.prompt import PER_OUTPUT, TextPrompt, Turn
from aioapp.web.operations.operation import Operation
from aioapp.web.schemas import Answer, Body
from aioapp.web.structured_output import json_schema, read


class Part(Body):
    name = ours.text(least=1, required=True)


class Everything(Body):
    text = fields.String(required=True, validate=validate.Length(min=2), metadata={"description": "A word."})
    stars = ours.whole(1, 5, required=True)
    many = ours.whole(0, 1000, required=True)
    share = ours.number(0.0, 1.0, required=True)
    sure = ours.flag(required=True)
    kind = ours.choice(("a", "b"))
    day = fields.Date(required=True)
    parts = ours.many(ours.one(Part, required=True), most=3, required=True)
    part = ours.one(Part, required=True)
    others = fields.List(fields.Nested(Part(many=True)))
    told = fields.String(dump_only=True)


class Itself(Schema):
    again = fields.Nested(lambda: Itself())


class Free(Schema):
    anything = fields.Dict()


PART = {"type": "object", "properties": {"name": {"type": "string", "description": "At least 1 characters."}},
        "required": ["name"], "additionalProperties": False}


def said(text: str, *, reason: str = "end_turn") -> Message:
    return Message({"model": "m", "content": [{"type": "text", "text": text}], "stop_reason": reason})


def test_claude_is_told_all_that_it_takes_of_a_schema() -> None:
    assert json_schema(Everything) == {
        "type": "object", "additionalProperties": False,
        "required": ["text", "stars", "many", "share", "sure", "day", "parts", "part"],
        "properties": {
            "text": {"type": "string", "description": "A word. At least 2 characters."},
            "stars": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
            "many": {"type": "integer", "description": "At least 0. At most 1000."},
            "share": {"type": "number", "description": "At least 0.0. At most 1.0."},
            "sure": {"type": "boolean"},
            "kind": {"anyOf": [{"type": "string", "enum": ["a", "b"]}, {"type": "null"}]},
            "day": {"type": "string", "format": "date"},
            "parts": {"type": "array", "items": PART, "description": "At most 3 items."},
            "part": PART,
            "others": {"type": "array", "items": {"type": "array", "items": PART}},
        }}


@pytest.mark.parametrize("schema", [Itself, Free])
def test_an_operation_that_wants_what_claude_cannot_be_asked_for_is_not_made(schema: type[Schema]) -> None:
    with pytest.raises(TypeError, match="Claude cannot be asked for|asked for that"):
        Operation(name="x", path="/x", stream_path="/x/s", summary="X", body=GENERATE.body, prompt=GENERATE.prompt,
                  output=schema, example={})


def test_the_answer_of_an_operation_that_wants_json_has_it_as_data() -> None:
    made: dict[str, Any] = {"name": "part", "path": "/x", "stream_path": "/x/s", "summary": "X",
                            "body": GENERATE.body, "prompt": GENERATE.prompt, "output": Part, "example": {}}
    assert set(Operation(**made).answer().fields) - set(Answer().fields) == {"data"}
    assert Operation(**made, answer=Part).answer is Part


@pytest.mark.parametrize(("message", "detail"), [
    (said('{"name": ""}'), "answer.name: ensure this value has at least 1 characters"),
    (said('{"name": "x"}', reason="max_tokens"), "max_tokens ended it"),
    (said("", reason="refusal"), "Claude refused to give it"),
    (said("\ud800"), "body: "),
    (said('{"name": NaN}'), "body: "),
])
def test_what_does_not_fit_is_a_failure_of_claudes(message: Message, detail: str) -> None:
    with pytest.raises(UpstreamFailed, match="is not the JSON that was asked for: ") as failed:
        read(message, Part)
    assert detail in str(failed.value)


def test_what_fits_is_loaded() -> None:
    assert read(said(' {"name": "x"}\n'), Part) == {"name": "x"}


def test_a_prompt_reserves_for_its_schema_and_keeps_it_for_every_model() -> None:
    plain = TextPrompt(messages=(Turn("user", "Hi"),), max_tokens=5)
    asking = TextPrompt(messages=plain.messages, max_tokens=5, effort="low", output={"type": "object"})
    assert asking.most_input == plain.most_input + PER_OUTPUT + len('{"type":"object"}')
    fit, _ = asking.fitted("claude-sonnet-5-5")
    assert b'"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object"}}}' in fit.body(
        live=False)
