"""Which models a body names: all that may run for it, none that is only talked about, and never for long."""
import sys
from types import FrameType
from typing import Any

import pytest

from aioapp.callers import Budget, Caller
from aioapp.errors import BadRequest
from aioapp.messages import raw_prompt
from aioapp.messages.named_models import MOST_MODELS, models_of
from aioapp.usage.prices import DEFAULT_PRICES
from aioapp.usage.reserves import Reserves

OWN, OTHER = "claude-haiku-5-5", "claude-opus-5-5"
STRICT = Caller(name="web", known=True, budget=Budget(nanodollars=10**12, per="day", strict=True))
CAR = {"type": "object", "properties": {"model": {"type": "string", "description": "x" * 300}}, "required": ["model"]}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": OWN, "max_tokens": 5, "messages": [], **fields}


@pytest.mark.parametrize("fields", [
    {"fallbacks": [{"model": OTHER}]}, {"fallbacks": [OTHER]}, {"fallbacks": OTHER},
    {"tools": [{"type": "advisor_20260301", "model": OTHER}]}, {"tools": [{"config": {"fast_model": {"id": [OTHER]}}}]},
    {"new": {"models": [OTHER]}}, {"model_of_old": 1, "new": [{"model": {"schema": OTHER}}]},
], ids=str)
def test_a_model_that_may_run_is_seen_wherever_it_is_named(fields: dict[str, Any]) -> None:
    assert models_of(body(**fields)) == (OWN, OTHER)


@pytest.mark.parametrize("fields", [
    {"tools": [{"name": "buy", "input_schema": CAR, "input_examples": [{"model": "T"}]}]},
    {"output_config": {"format": {"type": "json_schema", "schema": CAR}}},
    {"output_format": {"type": "json_schema", "schema": CAR}},
    {"fallbacks": [{"model": OWN, "speed": "fast", "thinking": {"type": "enabled"}}]},
    {"metadata": {"model": OTHER}, "system": [{"model": OTHER}], "messages": [{"model": OTHER}]},
], ids=str)
def test_what_a_caller_calls_a_model_in_schemas_and_texts_of_its_own_is_none(fields: dict[str, Any]) -> None:
    assert models_of(body(**fields)) == (OWN,)


def test_fallbacks_that_claude_chooses_are_for_keys_that_may_use_any_model() -> None:
    names = models_of(body(fallbacks="default"))
    assert not all(map(Caller(name="web", models=("claude-*",)).may_use, names))
    assert all(map(Caller(name="web").may_use, names))


def reserved(raw: bytes) -> int:
    return Reserves(DEFAULT_PRICES).of(STRICT, raw_prompt.read(raw)).nanodollars


def test_a_strict_budget_reckons_with_the_dearest_model_where_claude_chooses() -> None:
    plain = b'{"model":"claude-haiku-5-5","max_tokens":1000,"messages":[]}'
    dearest = DEFAULT_PRICES.most("claude-fable-5-2", input=64, output=1000, hour=True, fast=True)
    assert reserved(plain) < dearest < reserved(plain[:-1] + b',"fallbacks":"default"}')


def test_a_strict_budget_reckons_with_what_fallbacks_may_write() -> None:
    raw = b'{"model":"claude-haiku-5-5","max_tokens":1,"messages":[],"fallbacks":[{"model":"claude-opus-5-5"%b}]}'
    assert reserved(raw % b',"max_tokens":100000') > reserved(raw % b"") + 100_000 * 20_000


DEPTH = 180


@pytest.mark.parametrize("inner", ['{"model":"a%d"}', '"a%d"'])
def test_names_that_are_deeply_nested_cost_no_more_than_others_but_for_the_way_to_them(inner: str) -> None:
    """It took seconds where each name climbed up all that it stood in. Counted, for no clock tells the same twice."""
    names = ",".join(inner % number for number in range(60_000))
    assert refused(names, depth=DEPTH) - refused(names, depth=1) <= 5 * DEPTH


def refused(names: str, *, depth: int) -> int:
    """How many calls of our functions it takes to refuse a body with so many names, at this depth."""
    raw = f'{{"model":"{OWN}","max_tokens":1,"x":{{"model":{"[" * depth}{names}{"]" * depth}}}}}'.encode()
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        # What other tests left may be collected meanwhile, and calls functions too.
        calls += event == "call" and "aioapp/messages/" in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        with pytest.raises(BadRequest, match=f"at most {MOST_MODELS} models"):
            raw_prompt.read(raw)
    finally:
        sys.setprofile(None)
    return calls
