"""What is set aside for a call: a bound for plain prompts and strict budgets, what will be taken for agents."""
import json
from typing import Any

import pytest

from aioapp.callers import Budget, Caller
from aioapp.errors import BadRequest
from aioapp.messages.events import Usage
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.messages.raw_prompt import RawPrompt, read
from aioapp.money import NANO
from aioapp.usage import DEFAULT_PRICES, Reserves
from aioapp.usage.reserves import ANSWERS, ENOUGH, LEAST_OUTPUT, MARGIN, REMEMBERED

SONNET = "claude-sonnet-5-5"
WEB = Caller(name="web", known=True, budget=Budget(nanodollars=5 * NANO, per="day"))
STRICT = Caller(name="web", known=True, budget=Budget(nanodollars=5 * NANO, per="day", strict=True))


def raw(size: int = 49_000, **more: Any) -> RawPrompt:
    """As Claude Code asks: 49 KB to say hello, and 128,000 tokens for the answer."""
    asked = {"model": SONNET, "max_tokens": 128_000, "messages": [{"role": "user", "content": "x" * size}], **more}
    return read(json.dumps(asked).encode())


def answered(reserves: Reserves, prompt: RawPrompt, *, read: int, written: int, caller: Caller = WEB) -> None:
    reserves.learn(caller, prompt, usage=Usage(input_tokens=read, output_tokens=written))


def test_trap_8_an_agents_hello_fits_a_hundred_thousand_tokens_and_five_dollars() -> None:
    reserve = Reserves(DEFAULT_PRICES).of(WEB, raw())
    assert reserve.tokens < 40_000 and reserve.nanodollars < NANO // 4 and not reserve.is_bound


def test_a_plain_prompt_sets_its_bound_aside_whoever_asks() -> None:
    prompt = TextPrompt(messages=(Turn("user", "Hi"),), max_tokens=100, model=SONNET)
    for caller in (WEB, STRICT):
        reserve = Reserves(DEFAULT_PRICES).of(caller, prompt)
        assert reserve.tokens == prompt.most_input + 100 and reserve.is_bound


def test_a_strict_budget_sets_the_bound_aside_for_every_model_that_may_run() -> None:
    reserves, prompt = Reserves(DEFAULT_PRICES), raw(fallbacks=[{"model": "claude-opus-5-5"}])
    answered(reserves, prompt, read=10, written=10, caller=STRICT)
    reserve = reserves.of(STRICT, prompt)
    most = [DEFAULT_PRICES.most(model, input=prompt.most_input, output=128_000, hour=True, fast=True)
            for model in (SONNET, "claude-opus-5-5")]
    assert (reserve.nanodollars, reserve.is_bound) == (sum(most), True)


def test_a_strict_budget_takes_nothing_that_nobody_can_bound() -> None:
    search = raw(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    with pytest.raises(BadRequest, match="web_search_20250305"):
        Reserves(DEFAULT_PRICES).of(STRICT, search)
    Reserves(DEFAULT_PRICES).of(WEB, search)


def test_it_is_learned_of_each_caller_what_its_answers_take() -> None:
    reserves, prompt = Reserves(DEFAULT_PRICES), raw()
    for _ in range(ENOUGH):
        answered(reserves, prompt, read=prompt.size // 4, written=300)
    assert reserves.of(WEB, prompt).tokens == pytest.approx(MARGIN * prompt.size / 4 + LEAST_OUTPUT, rel=0.01)
    other = Caller(name="other", known=True)
    assert reserves.of(other, prompt).tokens == pytest.approx(prompt.size / 2 + LEAST_OUTPUT, rel=0.01)


def test_one_long_answer_sets_more_aside_until_it_is_long_ago() -> None:
    reserves, prompt = Reserves(DEFAULT_PRICES), raw()
    answered(reserves, prompt, read=1000, written=20_000)
    assert reserves.of(WEB, prompt).tokens > 80_000
    answered(reserves, prompt, read=1000, written=100_000)
    assert reserves.of(WEB, prompt).tokens < 128_000 + prompt.size
    for _ in range(ANSWERS):
        answered(reserves, prompt, read=1000, written=10)
    assert reserves.of(WEB, prompt).tokens < 20_000


def test_a_few_cheap_answers_are_not_enough_to_be_known_by() -> None:
    reserves, prompt = Reserves(DEFAULT_PRICES), raw()
    for _ in range(ENOUGH - 1):
        answered(reserves, prompt, read=1, written=1)
    assert reserves.of(WEB, prompt).tokens > prompt.size / 2
    answered(reserves, prompt, read=1, written=1)
    assert reserves.of(WEB, prompt).tokens < prompt.size / 2


def test_no_more_callers_are_remembered_than_asked_last() -> None:
    reserves, prompt = Reserves(DEFAULT_PRICES), raw()
    for number in range(REMEMBERED + 10):
        answered(reserves, prompt, read=1, written=1, caller=Caller(name=str(number), known=True))
    assert len(reserves._past) == REMEMBERED
