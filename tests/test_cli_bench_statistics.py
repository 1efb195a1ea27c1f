"""What `aioapp bench` makes of many calls: percentiles, rates, errors by kind, and how far rounds are apart."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.cli.bench.statistics import (
    MOST_KINDS, OTHERS, Errors, Round, Sample, Spread, Tally, merged, percentile, percentiles, spread, spreads)

TIMES = st.lists(st.floats(0, 100), min_size=1).map(sorted)


def tallied(*samples: Sample) -> Tally:
    tally = Tally()
    for sample in samples:
        tally.add(sample)
    return tally


@pytest.mark.parametrize("share", [1, 7, 50, 95, 99, 100])
def test_of_a_hundred_values_a_percentile_is_the_one_of_its_rank(share: int) -> None:
    assert percentile([float(number) for number in range(1, 101)], share) == share


def test_of_one_value_each_percentile_is_that_one_and_of_none_there_is_none() -> None:
    assert percentiles("whole", [7.0]) == {"whole_p50": 7.0, "whole_p95": 7.0, "whole_p99": 7.0}
    assert percentiles("whole", []) == {}


@given(TIMES, st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_enough_values_do_not_exceed(values: list[float], share: int) -> None:
    def enough(bound: float) -> bool:
        return sum(value <= bound for value in values) * 100 >= share * len(values)

    assert percentile(values, share) == min(value for value in values if enough(value))


@given(TIMES)
def test_percentiles_are_in_order_and_do_not_ask_for_any(values: list[float]) -> None:
    found = list(percentiles("first", values[::-1]).values())
    assert found == sorted(found) and found == list(percentiles("first", values).values())


def test_errors_are_counted_by_kind_with_the_first_of_each_and_are_no_times() -> None:
    good = Sample(first=0.1, whole=0.2, tokens=10)
    done = tallied(good, Sample(error="503", detail="a"), good, Sample(error="503", detail="b")).round(2.0)
    assert done.errors == {"503": Errors(2, "a")}
    assert done.figures["calls_per_second"] == 1.0 and done.figures["tokens_per_second"] == 10.0
    assert (done.figures["first_p50"], done.figures["whole_p99"]) == (0.1, 0.2)


def test_a_server_that_words_each_error_anew_fills_no_memory() -> None:
    errors = tallied(*(Sample(error=f"error {number}") for number in range(100))).errors
    assert len(errors) == MOST_KINDS + 1
    assert errors[OTHERS] == Errors(100 - MOST_KINDS, "")


def test_errors_of_all_rounds_are_told_together() -> None:
    assert merged([{"a": Errors(1, "x")}, {}, {"a": Errors(2, "y"), "b": Errors(1, "z")}]) == {
        "a": Errors(3, "x"), "b": Errors(1, "z")}


def test_late_starts_are_told_only_where_calls_are_due() -> None:
    assert "late_starts" not in Tally().round(1.0).figures
    assert Tally(late=3).round(1.0).figures["late_starts"] == 3


def test_a_figure_is_its_least_middle_and_most_over_the_rounds() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(1.0, 2.0, 3.0)
    assert spread([4.0, 1.0]) == Spread(1.0, 2.5, 4.0)


def test_a_figure_that_a_round_does_not_have_is_left_out() -> None:
    rounds = [tallied(Sample(whole=1.0)).round(1.0), tallied(Sample(error="x")).round(1.0)]
    assert set(spreads(rounds)) == {"calls_per_second", "tokens_per_second"}
    assert spreads([Round(figures={"n": 1.0}, errors={})]) == {"n": Spread(1.0, 1.0, 1.0)}
