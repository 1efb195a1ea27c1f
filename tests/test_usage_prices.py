"""What tokens cost: exact, never too little, and by a table that a setting can change."""
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.callers import matching
from aioapp.money import NANO
from aioapp.messages.events import Usage
from aioapp.usage.prices import DEFAULT_PRICES, parse_prices

MILLION = 1_000_000
COUNTS = st.integers(0, 2 * MILLION)


@pytest.mark.parametrize(("model", "input_price", "output_price"), [
    ("claude-opus-5-5", 4, 20), ("claude-opus-5-5-20261001", 4, 20), ("claude-sonnet-5-5", 2, 10),
    ("claude-haiku-5-5", 0.1, 0.5), ("claude-fable-5-2", 8, 40), ("claude-opus-4-1", 15, 75), ("", 15, 75)])
def test_a_million_tokens_cost_what_the_list_says(model: str, input_price: float, output_price: float) -> None:
    costs = [DEFAULT_PRICES.cost(model, Usage(**{kind: MILLION})) / NANO for kind in Usage.__slots__]
    assert costs == pytest.approx([input_price, output_price, input_price * 1.25, input_price / 10], rel=1e-12)


def test_the_cheapest_token_there_is_costs_ten_nanodollars() -> None:
    assert DEFAULT_PRICES.cost("claude-haiku-5-5", Usage(cache_read_input_tokens=1)) == 10


@given(prices=st.tuples(*[st.decimals(0, MILLION, places=9)] * 4), counts=st.tuples(*[COUNTS] * 4))
def test_a_cost_is_the_exact_sum_rounded_up_once(prices: tuple[object, ...], counts: tuple[int, ...]) -> None:
    kinds = dict(zip(("input", "output", "cache_write", "cache_read"), prices))
    table = parse_prices('{"m": {%s}}' % ", ".join(f'"{kind}": {price:f}' for kind, price in kinds.items()))
    exact = sum(Fraction(str(price)) * 1000 * count for price, count in zip(prices, counts))
    cost = table.cost("m", Usage(*counts))
    assert isinstance(cost, int) and exact <= cost < exact + 1


@given(counts=st.tuples(*[COUNTS] * 4), model=st.sampled_from(["claude-opus-5-5", "claude-haiku-5-5", "x"]))
def test_no_way_of_counting_costs_more_than_the_most(counts: tuple[int, int, int, int], model: str) -> None:
    usage = Usage(*counts)
    most = DEFAULT_PRICES.most(model, input=usage.total - usage.output_tokens, output=usage.output_tokens)
    assert DEFAULT_PRICES.cost(model, usage) <= most


def test_the_most_holds_where_a_setting_makes_plain_input_the_dearest() -> None:
    table = parse_prices('{"m": {"input": 8, "output": 1, "cache_write": 1, "cache_read": 1}}')
    assert table.most("m", input=MILLION, output=0) == 8 * NANO


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


ENTRY = r'"m" needs input and output, and takes cache_write and cache_read'
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
    ('{"m\\n": {"input": 1e-999999, "output": 1}}', rf'input of "m\n" {NUMBER}'),
    ('{"m": {"input": 1, "output": %s}}' % ("9" * 5000), f'output of "m" {NUMBER}')])
def test_a_table_that_cannot_be_used_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(ValueError) as failed:
        parse_prices(text)
    assert str(failed.value) == f"a table of prices: {said}"
