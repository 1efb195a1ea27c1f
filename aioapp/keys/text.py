"""A key in words: as it is told to programs and people, and its terms as people write them.

What reads raises `ValueError` with what it takes. Nothing of a key's secrets is part of any text here.
"""
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from aioapp.callers import Budget, Limits, Standing
from aioapp.money import NANO
from aioapp.keys.key import END_OF_TIME, LONGEST_GRACE, MOST, Key
from aioapp.keys.state import state_of

NONE = "-"
LAST_SECOND = time(23, 59, 59)
"""Of a day on which a key ends, which therefore is called by that day, and not by the next."""


def as_object(key: Key, standing: Standing, *, at: datetime) -> dict[str, Any]:
    """The key as JSON, with its state at the time `at`."""
    return {
        "name": key.name,
        "admin": key.admin,
        "limits": asdict(key.limits),
        "budget": key.budget and budget_object(key.budget),
        "spent_usd": None if key.budget is None else standing.of(key.budget) / NANO,
        "models": list(key.models),
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
        "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
        "last_used_at": key.last_used_at and key.last_used_at.isoformat(),
        "state": state_of(key, standing, at=at),
        "note": key.note,
        "owner": key.owner,
    }


def budget_object(budget: Budget) -> dict[str, Any]:
    return {"usd": budget.nanodollars / NANO, "per": budget.per, "strict": budget.strict}


def row_of(key: Key, standing: Standing, *, at: datetime) -> dict[str, str]:
    """The key as a row of a table, by the names of its columns."""
    return {
        "name": key.name,
        "state": state_of(key, standing, at=at).replace("_", " "),
        "admin": "yes" if key.admin else NONE,
        **{row.name.replace("_per_minute", "/min"): str(getattr(key.limits, row.name) or NONE)
           for row in fields(Limits)},
        "budget": spending(key.budget),
        "expires": last(key.expires_at),
        "last used": moment(key.last_used_at),
        "owner": key.owner or NONE,
        "models": " ".join(key.models),
    }


def terms(key: Key) -> str:
    """What the key may, in a line."""
    return ", ".join((
        "any model" if "*" in key.models else "models " + " ".join(key.models),
        *limits(key),
        spending(key.budget) if key.budget else "no budget",
        f"until {last(key.expires_at)}" if key.expires_at else "no end",
        *(["admin"] if key.admin else []),
    ))


def limits(key: Key) -> Iterator[str]:
    for row in fields(Limits):
        if (limit := getattr(key.limits, row.name)) is not None:
            yield f"{row.name.replace('_', ' ')} {limit}"


def spending(budget: Budget | None) -> str:
    if budget is None:
        return NONE
    return f"${dollars(budget.nanodollars)} a {budget.per}{', strict' if budget.strict else ''}"


def use(figures: Mapping[str, Any]) -> str:
    """What was used, in words."""
    cost = dollars(round(figures["cost_usd"] * NANO))
    return f"{figures['requests']} requests, {figures['tokens']} tokens, ${cost}"


def dollars(amount: int) -> str:
    """An amount of nanodollars, exactly."""
    whole, rest = divmod(amount, NANO)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")


def last(expires_at: datetime | None) -> str:
    """When a key ends: the last day, where it is one, as it was said."""
    if expires_at is None:
        return NONE
    at = expires_at.astimezone(UTC)
    if at.time() == time():
        at -= timedelta(seconds=1)  # midnight is the end of the day before, as keys have it that were made long ago
    return at.date().isoformat() if at.time() == LAST_SECOND else moment(at)


def moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else NONE


UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
WHILE = re.compile(r"([0-9]{1,9})([smhd])")


def count(text: str) -> int:
    if re.fullmatch("[0-9]{1,10}", text) and 1 <= int(text) <= MOST:
        return int(text)
    raise ValueError(f"a whole number from 1 to {MOST}")


def expiry(text: str, *, at: datetime) -> datetime:
    """ISO 8601: a date is the last day, in UTC, and a time has its offset. It comes after `at`."""
    with suppress(ValueError, TypeError, OverflowError):  # TypeError: a time without offset is neither before nor after
        if at < (end := end_of(text)) < END_OF_TIME:
            return end
    raise ValueError("expires_at: a date or a time to come, such as 2027-01-31 or 2027-01-31T12:00:00Z")


def end_of(text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)
    return datetime.combine(day, LAST_SECOND, UTC)


def grace(text: str) -> timedelta:
    """A while such as 0s, 10m, 24h or 7d."""
    if said := WHILE.fullmatch(text):
        span = timedelta(**{UNITS[said[2]]: int(said[1])})
        if span <= LONGEST_GRACE:
            return span
    raise ValueError(f"a number with s, m, h or d behind it, at most {LONGEST_GRACE.days}d")
