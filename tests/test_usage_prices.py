"""What tokens cost: exact, never too little, and by a table that a setting can change."""
import re
import time
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.callers import Budget, Caller, matching
from aioapp.money import NANO
from aioapp.messages.billing import Billing, Usage
from aioapp.messages.raw_prompt import read
from aioapp.usage import Reserves
from aioapp.usage.prices import DEFAULT_PRICES, Prices, parse_prices

MILLION = 1_000_000
COUNTS = st.integers(0, 2 * MILLION)


TABLE = {
    "claude-opus-5-5": ("4", "20", "5", "8", "0.20"),
    "claude-opus-5-5-20261001": ("4", "20", "5", "8", "0.20"),
    "claude-sonnet-5-5": ("2", "10", "2.50", "4", "0.10"),
    "claude-haiku-5-5": ("0.10", "0.50", "0.125", "0.20", "0.01"),
    "claude-fable-5-2": ("8", "40", "10", "16", "0.20"),
    "claude-sonnet-4-6": ("3", "15", "3.75", "6", "0.30"),
    "claude-opus-4-1": ("15", "75", "18.75", "30", "1.50"),
    "": ("15", "75", "18.75", "30", "1.50"),
}
"""By model: dollars for a million tokens of input, output, writes for five minutes and for an hour, and reads."""
OPUS, SONNET, HAIKU, FABLE = "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5-2"
SHARE = 10
"""Of a million tokens, a tenth is asked for: for some models, a longer prompt costs more."""
FEW = MILLION // SHARE
KINDS = (
    Usage(input_tokens=FEW), Usage(output_tokens=FEW), Usage(cache_creation_input_tokens=FEW),
    Usage(cache_creation_input_tokens=FEW, billing=Billing(hour=FEW)), Usage(cache_read_input_tokens=FEW))


@pytest.mark.parametrize("model", TABLE)
def test_a_million_tokens_cost_what_the_list_says(model: str) -> None:
    costs = [DEFAULT_PRICES.cost(model, usage) for usage in KINDS]
    assert costs == [Decimal(dollars) * NANO / SHARE for dollars in TABLE[model]]


@pytest.mark.parametrize("model", TABLE)
@pytest.mark.parametrize(("billing", "times"), [
    ({"us": True}, "1.1"), ({"batch": True}, "0.5"), ({"us": True, "batch": True}, "0.55")])
def test_the_place_and_the_batch_change_the_price_of_every_token(
        model: str, billing: Any, times: str) -> None:
    costs = [DEFAULT_PRICES.cost(model, replace(usage, billing=replace(usage.billing, **billing))) for usage in KINDS]
    assert costs == [Decimal(dollars) * Decimal(times) * NANO / SHARE for dollars in TABLE[model]]


@pytest.mark.parametrize(("model", "dollars"), [
    (OPUS, ["8", "40", "10", "16", "0.4"]), (FABLE, ["16", "80", "20", "32", "0.4"]),
    ("claude-opus-9", ["30", "150", "37.5", "60", "3"]), (SONNET, ["2", "10", "2.5", "4", "0.1"]),
    (HAIKU, ["0.1", "0.5", "0.125", "0.2", "0.01"]), ("claude-sonnet-4-6", ["3", "15", "3.75", "6", "0.3"])])
def test_fast_mode_costs_twice_where_there_is_one(model: str, dollars: list[str]) -> None:
    fast = [replace(usage, billing=replace(usage.billing, fast=True)) for usage in KINDS]
    assert [DEFAULT_PRICES.cost(model, usage) for usage in fast] == [Decimal(each) * NANO / SHARE for each in dollars]


def test_a_search_costs_a_cent_whatever_the_tokens_cost() -> None:
    usage = Usage(100, 10, billing=Billing(searches=3, fast=True, us=True, batch=True))
    # (100 x 4,000 + 10 x 20,000) x 2 x 1.1 / 2 nanodollars, and three cents
    assert DEFAULT_PRICES.cost(OPUS, usage) == 660_000 + 30_000_000


def test_an_answer_of_claude_code_costs_what_is_reckoned_by_hand() -> None:
    usage = Usage.of({
        "input_tokens": 4, "output_tokens": 250,
        "cache_creation_input_tokens": 3_000, "cache_read_input_tokens": 40_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000},
        "service_tier": "standard", "inference_geo": "us", "speed": "fast"})
    #          input       output         5 minutes       1 hour          read          fast and us
    assert (4 * 4_000 + 250 * 20_000 + 1_000 * 5_000 + 2_000 * 8_000 + 40_000 * 200) * 22 == 10 * 74_835_200
    assert DEFAULT_PRICES.cost(OPUS, usage) == 74_835_200


def test_iterations_are_billed_each_by_the_model_that_ran() -> None:
    usage = Usage.of({"input_tokens": 412, "output_tokens": 531, "iterations": [
        {"type": "message", "input_tokens": 412, "output_tokens": 89},
        {"type": "compaction", "input_tokens": 1_000, "output_tokens": 10},
        {"type": "advisor_message", "model": FABLE, "input_tokens": 823, "output_tokens": 1_612},
        {"type": "message", "input_tokens": 1_348, "cache_read_input_tokens": 412, "output_tokens": 442}]})
    sonnet = (412 + 1_000 + 1_348) * 2_000 + (89 + 10 + 442) * 10_000 + 412 * 100
    assert sonnet == 10_971_200
    assert DEFAULT_PRICES.cost(SONNET, usage) == sonnet + 823 * 8_000 + 1_612 * 40_000 == 82_035_200


def test_a_fallback_is_billed_at_its_own_price_under_whatever_name_it_answers() -> None:
    usage = Usage.of({"input_tokens": 120, "output_tokens": 30, "iterations": [
        {"type": "message", "model": FABLE, "input_tokens": 100, "output_tokens": 7},
        {"type": "message", "model": HAIKU, "input_tokens": 10**6, "output_tokens": 0},  # declined at once: nothing
        {"type": "fallback_message", "model": OPUS, "input_tokens": 120, "output_tokens": 30}]})
    for name in (FABLE, OPUS):
        assert DEFAULT_PRICES.cost(name, usage) == 100 * 8_000 + 7 * 40_000 + 120 * 4_000 + 30 * 20_000 == 2_160_000


def test_a_price_is_a_guess_where_the_list_has_no_such_model_and_nobody_told_one() -> None:
    own = parse_prices('{"mine": {"input": 1, "output": 1}}')
    assert [own.guesses(model) for model in (OPUS, "claude-sonnet-4-6", "mine", "claude-opus-4-1", "other", "")] == [
        False, False, False, True, True, True]
    assert not parse_prices('{"*": {"input": 1, "output": 1}}').guesses("claude-opus-4-1")


DOLLARS = st.decimals(0, MILLION, places=9)
FLAGS = st.fixed_dictionaries({name: st.booleans() for name in ("fast", "us", "batch")})
FIELDS = ("input", "output", "cache_write", "cache_write_1h", "cache_read", "web_search", "fast", "us")


def told(**prices: object) -> Prices:
    return parse_prices('{"m": {%s}}' % ", ".join(f'"{kind}": {price:f}' for kind, price in prices.items()))


@given(prices=st.tuples(*[DOLLARS] * 4), counts=st.tuples(*[COUNTS] * 4))
def test_a_cost_is_the_exact_sum_rounded_up_once(prices: tuple[Decimal, ...], counts: tuple[int, ...]) -> None:
    table = told(**dict(zip(("input", "output", "cache_write", "cache_read"), prices)))
    exact = sum(Fraction(price) * 1000 * count for price, count in zip(prices, counts))
    cost = table.cost("m", Usage(*counts))
    assert isinstance(cost, int) and exact <= cost < exact + 1


@given(prices=st.tuples(*[DOLLARS] * 8), counts=st.tuples(*[COUNTS] * 4), hour=COUNTS, searches=COUNTS, flags=FLAGS)
def test_a_cost_on_any_terms_is_the_exact_sum_rounded_up_once(
        prices: tuple[Decimal, ...], counts: tuple[int, ...], hour: int, searches: int, flags: Any) -> None:
    fields = dict(zip(FIELDS, map(Fraction, prices)))
    hour = min(hour, counts[2])
    amounts = (counts[0], counts[1], counts[2] - hour, hour, counts[3])
    times = ((fields["fast"] if flags["fast"] else 1) * (fields["us"] if flags["us"] else 1)
             * (Fraction(1, 2) if flags["batch"] else 1))
    tokens = sum(fields[kind] * 1000 * count for kind, count in zip(FIELDS, amounts))
    exact = tokens * times + searches * fields["web_search"] * NANO
    usage = Usage(*counts, billing=Billing(hour=hour, searches=searches, **flags))
    cost = told(**dict(zip(FIELDS, prices))).cost("m", usage)
    assert isinstance(cost, int) and exact <= cost < exact + 1


@given(counts=st.tuples(*[COUNTS] * 4), model=st.sampled_from([OPUS, HAIKU, "x"]), flags=FLAGS, hour=COUNTS)
def test_no_way_of_counting_costs_more_than_the_most(
        counts: tuple[int, int, int, int], model: str, flags: Any, hour: int) -> None:
    usage = Usage(*counts, billing=Billing(hour=min(hour, counts[2]), **flags))
    most = DEFAULT_PRICES.most(
        model, input=usage.total - usage.output_tokens, output=usage.output_tokens, fast=flags["fast"],
        hour=usage.billing.hour > 0)
    assert DEFAULT_PRICES.cost(model, usage) <= most


def test_the_most_counts_the_place_always_and_an_hour_and_fast_mode_where_they_are_asked_for() -> None:
    most = partial(DEFAULT_PRICES.most, OPUS, input=1_000, output=100)
    assert most() == (1_000 * 5_000 + 100 * 20_000) * 11 // 10
    assert most(hour=True) == (1_000 * 8_000 + 100 * 20_000) * 11 // 10
    assert most(hour=True, fast=True) == (1_000 * 8_000 + 100 * 20_000) * 22 // 10
    assert DEFAULT_PRICES.most(SONNET, input=1, output=0, fast=True) == 2_750


def test_the_most_holds_where_a_setting_makes_plain_input_the_dearest() -> None:
    table = parse_prices('{"m": {"input": 8, "output": 1, "cache_write": 1, "cache_read": 1, "us": 0.5}}')
    assert table.most("m", input=MILLION, output=0) == 8 * NANO


def test_a_strict_budget_sets_aside_for_a_raw_prompt_what_it_may_cost_on_any_terms() -> None:
    prompt = read(b'{"model": "%s", "max_tokens": 100, "messages": [], "speed": "fast"}' % OPUS.encode())
    caller = Caller(name="web", known=True, budget=Budget(nanodollars=NANO, per="day", strict=True))
    reserve = Reserves(DEFAULT_PRICES).of(caller, prompt)
    assert reserve.is_bound
    assert reserve.nanodollars == (prompt.most_input * 8_000 + 100 * 20_000) * 22 // 10


@pytest.mark.parametrize(("entry", "dollars"), [
    ('"input": 4, "output": 20', ["4", "20", "5", "8", "0.4"]),
    ('"input": 4, "output": 20, "cache_read": 0.2', ["4", "20", "5", "8", "0.2"]),
    ('"input": 4, "output": 20, "cache_write": 0', ["4", "20", "0", "0", "0.4"]),
    ('"input": 4, "output": 20, "cache_write": 2.5', ["4", "20", "2.5", "4", "0.4"]),
    ('"input": 4, "output": 20, "cache_write_1h": 9', ["4", "20", "5", "9", "0.4"])])
def test_what_a_table_does_not_tell_follows_from_what_it_does(entry: str, dollars: list[str]) -> None:
    table = parse_prices('{"m": {%s}}' % entry)
    assert [table.cost("m", usage) for usage in KINDS] == [Decimal(each) * NANO / SHARE for each in dollars]
    special = replace(KINDS[0], billing=Billing(fast=True, us=True, searches=1))
    assert table.cost("m", special) == 440_000_000 + 10_000_000


def test_a_table_may_tell_the_price_of_fast_mode_of_the_place_and_of_searches() -> None:
    table = parse_prices('{"m": {"input": 4, "output": 20, "fast": 6, "us": 1, "web_search": 0.005}}')
    usage = replace(KINDS[0], billing=Billing(fast=True, us=True, searches=2))
    assert table.cost("m", usage) == 24 * NANO // SHARE + 20_000_000 // 2


def test_counts_below_zero_take_nothing_off() -> None:
    assert DEFAULT_PRICES.cost("claude-sonnet-5-5", Usage(10, -1000, -1000, -1000)) == 20_000


def test_the_first_pattern_that_matches_wins_and_the_defaults_come_last() -> None:
    table = parse_prices('{"claude-opus-5-5": {"input": 1, "output": 1}, "mine-*": {"input": 2, "output": 2},'
                         ' "*-5-5": {"input": 3, "output": 3}}')
    models = ("claude-opus-5-5", "mine-5-5", "claude-haiku-5-5", "claude-opus-5-5-x", "?")
    assert [table.name(model) for model in models] == ["claude-opus-5-5", "mine-*", "*-5-5", "claude-opus-5-5*", "*"]
    assert [table.cost(model, Usage(1)) for model in models] == [1000, 2000, 3000, 4000, 15_000]


def test_a_row_of_the_defaults_can_be_changed_by_its_own_pattern() -> None:
    table = parse_prices('{"*": {"input": 1, "output": 1}}')
    assert {table.cost(model, Usage(1)) for model in ("claude-opus-5-5", "x")} == {1000}


@given(pattern=st.text("ab?[.*", max_size=8), name=st.text("ab?[.\n", max_size=10))
def test_only_the_star_stands_for_other_text(pattern: str, name: str) -> None:
    plainly = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
    assert bool(matching(pattern).fullmatch(name)) == bool(plainly.fullmatch(name))


def test_no_name_takes_long_to_match() -> None:
    table = parse_prices('{"*a*a*a*a*a*a*a*a*b": {"input": 1, "output": 1}}')
    began = time.perf_counter()
    assert table.name("a" * 256) == "*"
    assert time.perf_counter() - began < 0.1


def test_names_that_callers_make_up_are_not_remembered_for_ever() -> None:
    table = parse_prices("{}")
    for number in range(5000):
        table.cost(f"made-up-{number}", Usage(1))
    assert table._row.cache_info().currsize <= 512  # type: ignore[attr-defined]


ENTRY = '"m" needs input and output, and takes cache_read, cache_write, cache_write_1h, fast, long, us, web_search'
TIMES = "is not a number of times, from 0 to a million, with at most 9 decimals"
NUMBER = "is not in dollars, from 0 to a million, with at most 9 decimals"


@pytest.mark.parametrize(("text", "said"), [
    ("{", "it is not valid JSON"), ("", "it is not valid JSON"), ("[" * 100_000, "it is not valid JSON"),
    ('{"m": {"input": 1e99999999999999999999, "output": 1}}', "it is not valid JSON"),
    ("[]", "it is not a JSON object"), ('"x"', "it is not a JSON object"),
    ('{"m": 3}', ENTRY), ('{"m": {"input": 1}}', ENTRY), ('{"m": {"input": 1, "output": 1, "x": 1}}', ENTRY),
    ('{"m": {"input": true, "output": 1}}', f'input of "m" {NUMBER}'),
    ('{"m": {"input": 1, "output": "1"}}', f'output of "m" {NUMBER}'),
    ('{"m": {"input": 1, "output": NaN}}', f'output of "m" {NUMBER}'),
    ('{"m": {"input": -1, "output": 1}}', f'input of "m" {NUMBER}'),
    ('{"m": {"input": 1000001, "output": 1}}', f'input of "m" {NUMBER}'),
    ('{"m": {"input": 1e-10, "output": 1}}', f'input of "m" {NUMBER}'),
    ('{"m": {"input": 1, "output": 1, "fast": "2"}}', f'fast of "m" {TIMES}'),
    ('{"m": {"input": 1, "output": 1, "web_search": -1}}', f'web_search of "m" {NUMBER}'),
    ('{"m": {"input": 1, "output": 1, "guess": 1}}', ENTRY),
    ('{"m\\n": {"input": 1e-999999, "output": 1}}', rf'input of "m\n" {NUMBER}'),
    ('{"m": {"input": 1, "output": %s}}' % ("9" * 5000), f'output of "m" {NUMBER}')])
def test_a_table_that_cannot_be_used_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(ValueError) as failed:
        parse_prices(text)
    assert str(failed.value) == f"a table of prices: {said}"


@pytest.mark.parametrize(("usage", "dollars"), [
    (Usage(100_000), "0.01"), (Usage(100_001), "0.0500005"), (Usage(0, 0, 0, 200_000), "0.01"),
    (Usage(0, 0, 200_000), "0.125"), (Usage(0, 0, 200_000, billing=Billing(hour=200_000)), "0.20"),
    (Usage(200_000, 10_000), "0.125"), (Usage(60_000, 0, 0, 60_000), "0.033"), (Usage(100_000, 1_000_000), "0.51")])
def test_a_prompt_of_more_than_a_hundred_thousand_tokens_costs_haiku_five_times_as_much(
        usage: Usage, dollars: str) -> None:
    """As Claude Code 2.1.332 reckons, which was let to price such usage."""
    assert DEFAULT_PRICES.cost("claude-haiku-5-5", usage) == Decimal(dollars) * NANO
    most = DEFAULT_PRICES.most("claude-haiku-5-5", input=usage.total - usage.output_tokens, output=usage.output_tokens,
                               hour=True)
    assert most >= DEFAULT_PRICES.cost("claude-haiku-5-5", usage)
