"""What a key is, what it may be, and what it may grant."""
from base64 import urlsafe_b64decode
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.callers import Budget, Limits, Period
from aioapp.money import NANO
from aioapp.keys.key import END_OF_TIME, SECRET, Key, affords, covers, digest_of, mint, proves

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
TERMS: dict[str, Any] = {
    "limits": Limits(requests_per_minute=60, tokens_per_minute=1000, concurrency=4),
    "budget": Budget(nanodollars=31 * NANO, per="month", strict=True),
    "models": ("claude-sonnet-*", "claude-haiku-4-5"),
    "expires_at": AT + timedelta(days=30),
}
GRANTOR = Key(name="grantor", created_at=AT, **TERMS)
PATTERNS = st.text("ab*", max_size=6)
BUDGETS = st.builds(
    Budget, nanodollars=st.integers(1, 100), per=st.sampled_from(["day", "month"]), strict=st.booleans())


def key(**terms: Any) -> Key:
    return Key(**{"name": "web", "created_at": AT, **TERMS, **terms})


def limited(**limits: int | None) -> dict[str, Limits]:
    return {"limits": replace(TERMS["limits"], **limits)}


MORE: dict[str, list[dict[str, Any]]] = {
    "admin": [{"admin": True}],
    "requests_per_minute": [limited(requests_per_minute=61), limited(requests_per_minute=None)],
    "tokens_per_minute": [limited(tokens_per_minute=1001), limited(tokens_per_minute=None)],
    "concurrency": [limited(concurrency=5), limited(concurrency=None)],
    "budget": [{"budget": None}, {"budget": Budget(nanodollars=31 * NANO + 1, per="month", strict=True)},
               {"budget": Budget(nanodollars=NANO + 1, per="day", strict=True)},
               {"budget": Budget(nanodollars=1, per="month")}, {"budget": Budget(nanodollars=1, per="day")}],
    "models": [{"models": ("*",)}, {"models": ("claude-*",)}, {"models": ("claude-sonnet-5", "claude-opus-4-7")},
               {"models": ("claude-haiku-4-5*",)}],
    "expires_at": [{"expires_at": None}, {"expires_at": TERMS["expires_at"] + timedelta(microseconds=1)}],
}
NO_MORE: list[dict[str, Any]] = [
    {},
    limited(requests_per_minute=1, tokens_per_minute=1, concurrency=1),
    {"budget": Budget(nanodollars=1, per="month", strict=True)},
    {"budget": Budget(nanodollars=NANO, per="day", strict=True)},
    {"models": ("claude-sonnet-5",)},
    {"models": ("claude-haiku-4-5", "claude-sonnet-*-thinking")},
    {"expires_at": AT},
    {"expires_at": TERMS["expires_at"].astimezone(timezone(timedelta(hours=-9)))},
]
IMPOSSIBLE: dict[str, list[dict[str, Any]]] = {
    "name": [{"name": name} for name in (
        "", " ", "a b", ".web", "-web", "a/b", "web\n", "wéb", "w" * 65, "\udcff", "anonymous", "Anonymous")],
    "requests_per_minute": [limited(requests_per_minute=0)],
    "tokens_per_minute": [limited(tokens_per_minute=-1)],
    "concurrency": [limited(concurrency=10**9 + 1)],
    "budget": [{"budget": Budget(nanodollars=0, per="day")}, {"budget": Budget(nanodollars=10**18 + 1, per="day")}],
    "models": [{"models": models} for models in (
        (), ("",), ("a?",), ("[a]",), ("a b",), ("a\n",), ("a\0",), ("é",), ("\udcff",), ("*", ""), ("a" * 129,),
        ("*",) * 51)],
    "created_at": [{"created_at": AT.replace(tzinfo=None)}],
    "expires_at": [{"expires_at": AT.replace(tzinfo=None)}, {"expires_at": END_OF_TIME}],
    "revoked_at": [{"revoked_at": AT.replace(tzinfo=None)}],
}


FACTS = {"name", "limits", "created_at", "revoked_at", "last_used_at", "note", "owner"}
"""Of a key, what lets its holder do nothing."""


def test_every_term_of_a_key_is_measured_when_it_is_granted() -> None:
    terms = {row.name for row in (*fields(Key), *fields(Limits))} - FACTS
    assert set(MORE) == terms


@pytest.mark.parametrize(("name", "terms"), [(name, terms) for name, cases in MORE.items() for terms in cases])
def test_a_key_with_more_of_anything_exceeds_and_says_in_what(name: str, terms: dict[str, Any]) -> None:
    assert key(**terms).exceeds(GRANTOR) == [name]


@pytest.mark.parametrize("terms", NO_MORE)
def test_a_key_with_as_much_or_less_exceeds_in_nothing(terms: dict[str, Any]) -> None:
    assert key(**terms).exceeds(GRANTOR) == []


def test_nothing_exceeds_a_key_without_bounds() -> None:
    boundless = Key(name="ops", admin=True, created_at=AT)
    assert key(admin=True).exceeds(boundless) == key().exceeds(boundless) == boundless.exceeds(boundless) == []
    assert len(boundless.exceeds(GRANTOR)) == len(MORE)


@given(theirs=PATTERNS, ours=PATTERNS, text=st.text("ab", max_size=6))
def test_a_pattern_that_is_covered_fits_no_text_that_its_cover_does_not(theirs: str, ours: str, text: str) -> None:
    if covers(theirs, ours) and fnmatchcase(text, ours):
        assert fnmatchcase(text, theirs)


@given(pattern=PATTERNS, parts=st.lists(st.text("ab*", max_size=3), min_size=7, max_size=7))
def test_a_pattern_covers_whatever_is_put_in_the_place_of_its_stars(pattern: str, parts: list[str]) -> None:
    pieces = pattern.split("*")
    narrower = "".join(piece + part for piece, part in zip(pieces, [*parts[:len(pieces) - 1], ""], strict=True))
    assert covers(pattern, narrower)


@given(theirs=BUDGETS, ours=BUDGETS, days=st.lists(st.integers(0, 100), min_size=28, max_size=31))
def test_a_budget_that_is_covered_never_spends_what_its_cover_would_not(
        theirs: Budget, ours: Budget, days: list[int]) -> None:
    if affords(theirs, ours):
        assert affordable(theirs, spent_within(ours, days, relayed=theirs.strict))


def spent_within(budget: Budget, days: list[int], *, relayed: bool) -> list[int]:
    """What of each day's wish the budget lets through. A relayed call may go over one that is not strict."""
    spent: list[int] = []
    for wish in days:
        left = budget.nanodollars - (sum(spent) if budget.per == "month" else 0)
        over = relayed and not budget.strict and left > 0
        spent.append(wish if over else min(wish, max(left, 0)))
    return spent


def affordable(budget: Budget, days: list[int]) -> bool:
    return (max(days) if budget.per == "day" else sum(days)) <= budget.nanodollars


def test_a_days_budget_is_covered_by_31_times_as_much_a_month_and_a_months_by_no_days() -> None:
    assert affords(Budget(nanodollars=31, per="month"), Budget(nanodollars=1, per="day"))
    assert not affords(Budget(nanodollars=30, per="month"), Budget(nanodollars=1, per="day"))
    assert not affords(Budget(nanodollars=31, per="day"), Budget(nanodollars=31, per="month"))


@pytest.mark.parametrize(("theirs", "ours", "afforded"), [
    (False, False, True), (False, True, True), (True, True, True), (True, False, False)])
@pytest.mark.parametrize("per", ["day", "month"])
def test_only_a_strict_budget_is_within_one_that_is(per: Period, theirs: bool, ours: bool, afforded: bool) -> None:
    cover = Budget(nanodollars=31, per=per, strict=theirs)
    assert affords(cover, Budget(nanodollars=1, per=per, strict=ours)) == afforded
    assert affords(None, Budget(nanodollars=1, per=per, strict=ours)) and not affords(cover, None)


@pytest.mark.parametrize(("name", "terms"), [(name, terms) for name, cases in IMPOSSIBLE.items() for terms in cases])
def test_a_key_that_cannot_be_is_refused_in_one_line_that_names_the_field(name: str, terms: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{name}: .+$") as refused:
        key(**terms)
    assert "\n" not in str(refused.value)


def test_a_key_expires_at_a_moment_and_stays_revoked() -> None:
    end = AT + timedelta(hours=1)
    assert key(expires_at=end).state(end - timedelta(microseconds=1)) == "active"
    assert key(expires_at=end).state(end) == "expired"
    assert key(expires_at=None).state(END_OF_TIME) == "active"
    assert key(expires_at=AT, revoked_at=end).state(AT - timedelta(days=1)) == "revoked"


def test_a_secret_has_a_prefix_a_public_id_and_256_bits() -> None:
    shown, public, digest = mint()
    found = SECRET.fullmatch(shown)
    assert found and found[1] == public
    assert len(urlsafe_b64decode(shown[-43:] + "=")) * 8 == 256
    assert digest == sha256(shown.encode()).digest()
    assert mint()[0] != shown


def test_a_secret_is_proven_by_all_of_its_text() -> None:
    shown, _, digest = mint()
    assert proves(shown, digest)
    for other in (shown[:-1], shown + "a", shown.upper(), shown[4:], "", "\udcff"):
        assert not proves(other, digest)


def test_any_text_has_a_digest() -> None:
    assert len({digest_of(text) for text in ("", "\0", "\udcff", "\ud800", "é", "😀", "a" * 10_000)}) == 7
