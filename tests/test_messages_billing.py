"""What Claude bills is read from whatever it says of it, and never fails for what makes no sense."""
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.messages.billing import MOST_ITERATIONS, STANDARD, Billing, Iteration, Usage
from aioapp.messages.events import Event
from aioapp.messages.summary import Summary
from aioapp.usage import DEFAULT_PRICES

PLAIN: dict[str, Any] = {
    "input_tokens": 12, "output_tokens": 34, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 7,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens_details": {"thinking_tokens": 5}, "service_tier": "standard", "inference_geo": "global",
    "speed": "standard", "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0}, "iterations": None,
}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JUNK = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from([*PLAIN, "type", "model"]), inner, max_size=3), max_leaves=6)
NAMES = [*PLAIN, "model", "type"]
WORDS = st.sampled_from(["fast", "us", "batch", "message", "compaction", "fallback_message", "claude-opus-5-5"])
ENTRIES = st.lists(st.dictionaries(st.sampled_from(NAMES), JUNK | WORDS | st.integers(0, 99)), max_size=4)
SPLIT = st.dictionaries(
    st.sampled_from(["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "web_search_requests"]), JUNK)


def said(**usage: Any) -> Usage:
    return Usage.of({"input_tokens": 10, "output_tokens": 20, **usage})


def streamed(begun: object, *ended: object) -> Usage:
    """What a stream has told of its usage at its end."""
    summary = Summary()
    summary.add(Event("message_start", json.dumps({"message": {"model": "m", "usage": begun}}).encode()))
    for usage in ended:
        summary.add(Event("message_delta", json.dumps({"delta": {}, "usage": usage}).encode()))
    return summary.usage


def test_where_the_counts_say_all_nothing_is_kept_beside_them() -> None:
    assert Usage.of(PLAIN).billing is STANDARD
    assert Usage.of(PLAIN) == Usage(12, 34, 0, 7)
    assert Usage.of({name: None for name in PLAIN}) == Usage()


@pytest.mark.parametrize(("usage", "billing"), [
    ({"speed": "fast"}, Billing(fast=True)),
    ({"inference_geo": "us"}, Billing(us=True)),
    ({"service_tier": "batch"}, Billing(batch=True)),
    ({"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": None}}, Billing(searches=3)),
    ({"cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, Billing(hour=4)),
    ({"speed": "slow", "inference_geo": ["us"], "service_tier": {"batch": 1}, "server_tool_use": 5,
      "cache_creation": [5]}, Billing()),
    ({"server_tool_use": {"web_search_requests": "many"}, "cache_creation": {"ephemeral_1h_input_tokens": -1}},
     Billing()),
    ({"server_tool_use": {"web_search_requests": True}, "cache_creation": {"ephemeral_1h_input_tokens": 2**40}},
     Billing()),
])
def test_each_term_is_read_by_itself_and_nonsense_is_none(usage: dict[str, Any], billing: Billing) -> None:
    assert said(**usage).billing == billing


@pytest.mark.parametrize(("told", "written"), [
    ({}, 7), ({"cache_creation_input_tokens": None}, 7), ({"cache_creation_input_tokens": 7}, 7),
    ({"cache_creation_input_tokens": 12}, 12), ({"cache_creation_input_tokens": 3}, 7)])
def test_the_split_of_what_was_written_stands_in_for_a_sum_that_is_missing(told: dict[str, Any], written: int) -> None:
    split = {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 2}
    usage = said(cache_creation=split, **told)
    assert (usage.cache_creation_input_tokens, usage.billing.hour) == (written, 2)


def test_a_streams_last_word_counts_and_what_it_lacks_or_leaves_null_stays() -> None:
    begun = {"input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 6, "speed": "fast",
             "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 4}}
    usage = streamed(begun, {"output_tokens": 3}, {
        "input_tokens": None, "output_tokens": 8, "cache_creation_input_tokens": 9, "cache_creation": None,
        "server_tool_use": {"web_search_requests": 2}, "iterations": None})
    assert usage == Usage(10, 8, 9, 0, billing=Billing(hour=4, searches=2, fast=True))


@pytest.mark.parametrize("nonsense", [
    5, "x", [1], None, {"output_tokens": "many"}, {"input_tokens": [10]}, {"iterations": {"type": "message"}}])
def test_a_usage_that_cannot_be_read_takes_nothing_away_from_the_input(nonsense: object) -> None:
    assert streamed({"input_tokens": 10}, nonsense) == streamed(nonsense, {"input_tokens": 10}) == Usage(10)


def test_iterations_are_told_apart_and_share_the_terms_of_the_answer() -> None:
    usage = said(speed="fast", server_tool_use={"web_search_requests": 1}, iterations=[
        {"type": "message", "input_tokens": 10, "output_tokens": 20, "speed": None},
        {"type": "advisor_message", "model": "a", "input_tokens": 1, "output_tokens": 2,
         "cache_creation_input_tokens": 3, "cache_creation": {"ephemeral_1h_input_tokens": 3},
         "server_tool_use": {"web_search_requests": 9}, "iterations": [{"input_tokens": 5}]},
        {"type": "compaction", "input_tokens": 4, "output_tokens": None, "speed": "standard"}])
    assert (usage.input_tokens, usage.output_tokens, usage.total) == (10, 20, 30)  # the totals are told as they came
    assert usage.billing == Billing(fast=True, searches=1, iterations=(
        Iteration(None, Usage(10, 20, billing=Billing(fast=True))),
        Iteration("a", Usage(1, 2, 3, billing=Billing(fast=True, hour=3))), Iteration(None, Usage(4))))


@pytest.mark.parametrize(("told", "count"), [
    ({}, 0), ({"model": None}, 0), ({"cache_read_input_tokens": 0}, 1), ({"output_tokens": 21}, 1),
    ({"model": "claude-haiku-5-5"}, 1), ({"type": "fallback_message"}, 1), ({"cache_creation": {}}, 1)])
def test_one_run_that_says_what_the_totals_say_is_billed_by_the_totals(told: dict[str, Any], count: int) -> None:
    entry = {"type": "message", "input_tokens": 10, "output_tokens": 20, **told}
    assert len(said(iterations=[entry]).billing.iterations) == count


@pytest.mark.parametrize("iterations", [None, [], {}, 5, "message", [5, None, {}], [{"type": "message"}], [
    {"type": "message", "input_tokens": "10"}]])
def test_where_no_iteration_can_be_read_the_totals_are_billed(iterations: object) -> None:
    usage = said(iterations=iterations)
    assert usage == Usage(10, 20) and DEFAULT_PRICES.cost("claude-sonnet-5-5", usage) == 220_000


@pytest.mark.parametrize(("entries", "rest"), [
    ([{"type": "compaction", "input_tokens": 5}], Usage(10, 20)),
    ([{"type": "advisor_message", "model": "a", "input_tokens": 500, "output_tokens": 600}], Usage(10, 20)),
    ([{"type": "message", "input_tokens": 10, "output_tokens": 1}], Usage(0, 19)),
    ([{"type": "message", "input_tokens": 10, "output_tokens": 20}, {"type": "message", "input_tokens": 30}], None),
    ([{"type": "fallback_message", "model": "b", "input_tokens": 4, "output_tokens": 20}, "nonsense"], Usage(6)),
    ([{"type": ["message"], "model": 5, "input_tokens": 10, "output_tokens": 20}], None),
    ([{"type": "of the future", "input_tokens": 10, "output_tokens": 20}], None)])
def test_what_the_totals_count_beyond_the_iterations_is_billed_too(entries: list[Any], rest: Usage | None) -> None:
    counted = [entry for entry in entries if entry != "nonsense"]
    added = said(iterations=entries).billing.iterations[len(counted):]
    assert added == (() if rest is None else (Iteration(None, rest),))


def test_of_writes_for_an_hour_those_that_no_iteration_has_are_left() -> None:
    split = {"ephemeral_1h_input_tokens": 8}
    usage = said(cache_creation_input_tokens=9, cache_creation=split, iterations=[
        {"type": "message", "input_tokens": 10, "output_tokens": 20, "cache_creation_input_tokens": 5,
         "cache_creation": {"ephemeral_1h_input_tokens": 5}}])
    left = Usage(cache_creation_input_tokens=4, billing=Billing(hour=3))
    assert usage.billing.iterations[-1] == Iteration(None, left)


def test_so_many_iterations_as_nobody_makes_are_not_looked_at_and_not_given_away() -> None:
    entry = {"type": "message", "input_tokens": 1, "output_tokens": 1}
    usage = Usage.of({"input_tokens": 5000, "output_tokens": 5000, "iterations": [entry] * 5000})
    assert len(usage.billing.iterations) == MOST_ITERATIONS + 1
    assert DEFAULT_PRICES.cost("claude-sonnet-5-5", usage) == 5000 * 12_000


def test_what_is_guessed_on_top_is_billed_on_the_same_terms() -> None:
    for entries in ([], [{"type": "message", "input_tokens": 10, "output_tokens": 20}]):
        usage = said(inference_geo="us", iterations=entries).plus(Usage(1, 2))
        assert (usage.input_tokens, usage.output_tokens) == (11, 22)
        assert DEFAULT_PRICES.cost("claude-sonnet-5-5", usage) == (11 * 2_000 + 22 * 10_000) * 11 // 10


@given(usage=JUNK | st.fixed_dictionaries({}, optional={
    **{name: JUNK | st.integers(0, 99) for name in PLAIN}, "iterations": JUNK | ENTRIES, "cache_creation": JUNK | SPLIT,
    "server_tool_use": JUNK | SPLIT, "speed": JUNK | WORDS, "inference_geo": JUNK | WORDS}))
def test_nothing_that_claude_may_say_fails_or_costs_less_than_nothing(usage: object) -> None:
    read = Usage.of(usage)
    cost = DEFAULT_PRICES.cost("claude-opus-5-5", read)
    assert cost >= 0 and 0 <= read.billing.hour <= read.cache_creation_input_tokens
    assert isinstance(DEFAULT_PRICES.cost("claude-opus-5-5", read.plus(Usage(1, 1))), int)
