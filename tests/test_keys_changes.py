"""A key's terms changed by a JSON merge patch (RFC 7396)."""
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.callers import Budget, Limits
from aioapp.keys.changes import ANY_MODEL, LIMITS, TERMS, merged, term
from aioapp.keys.key import Key
from tests.test_store_keys import AT, KEYS

PLAIN = {"admin": False, "models": ANY_MODEL}
"""What a term is that is lifted, where that is not None."""
PATCHED = st.sets(st.sampled_from(sorted({*TERMS} - {"budget"})))


@given(before=KEYS, other=KEYS, named=PATCHED, lifted=PATCHED)
def test_what_is_named_is_changed_what_is_null_lifted_and_all_else_stays(
        before: Key, other: Key, named: set[str], lifted: set[str]) -> None:
    patch = {name: term(other, name) for name in named} | dict.fromkeys(lifted)
    after = merged(before, patch)
    for name in TERMS:
        expected = PLAIN.get(name) if name in lifted else term(other if name in named else before, name)
        assert term(after, name) == expected
    assert (after.name, after.created_at, after.revoked_at) == (before.name, before.created_at, before.revoked_at)


FIVE = Budget(nanodollars=5, per="day", strict=True)


@pytest.mark.parametrize(("before", "patch", "after"), [
    (FIVE, None, None), (None, None, None), (FIVE, {}, FIVE), (FIVE, {"nanodollars": 7}, replace(FIVE, nanodollars=7)),
    (FIVE, {"per": "month"}, replace(FIVE, per="month")), (FIVE, {"strict": None}, replace(FIVE, strict=False)),
    (None, {"nanodollars": 5, "per": "day"}, replace(FIVE, strict=False)),
    (None, {"nanodollars": 5, "per": "day", "strict": True}, FIVE)])
def test_a_budget_is_merged_part_by_part(before: Budget | None, patch: dict[str, Any] | None, after: Budget) -> None:
    key = Key(name="web", created_at=AT, budget=before)
    assert merged(key, {"budget": patch}) == replace(key, budget=after)


@pytest.mark.parametrize(("patch", "why"), [
    ({"budget": {}}, "budget.usd: "), ({"budget": {"per": "day"}}, "budget.usd: "),
    ({"budget": {"nanodollars": 1}}, "budget.per: "), ({"budget": {"nanodollars": 0, "per": "day"}}, "budget: "),
    ({"models": ()}, "models: "), ({"note": ""}, "note: "), ({"concurrency": 0}, "concurrency: ")])
def test_what_would_be_no_key_is_refused_by_its_field(patch: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}"):
        merged(Key(name="web", created_at=AT), patch)


def test_every_limit_is_a_term() -> None:
    assert {*LIMITS} == {*Limits.__dataclass_fields__} < {*TERMS}
