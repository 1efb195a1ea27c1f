"""A key as it is told: as JSON to programs, in words to people. Nothing of its secrets is part of it."""
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from aioapp.callers import NANO, Limits
from aioapp.keys.key import Key

NONE = "-"


def told(key: Key, *, at: datetime) -> dict[str, Any]:
    """The key as JSON, with its state at the time `at`."""
    return {
        "name": key.name,
        "admin": key.admin,
        "limits": asdict(key.limits),
        "budget": key.budget and {"usd": key.budget.nanodollars / NANO, "per": key.budget.per},
        "models": list(key.models),
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
        "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
        "state": key.state(at),
    }


def row_of(key: Key, *, at: datetime) -> dict[str, str]:
    """The key as a row of a table, by the names of its columns."""
    return {
        "name": key.name,
        "state": key.state(at),
        "admin": "yes" if key.admin else NONE,
        **{row.name.replace("_per_minute", "/min"): str(getattr(key.limits, row.name) or NONE)
           for row in fields(Limits)},
        "budget": spending(key),
        "expires": moment(key.expires_at),
        "models": " ".join(key.models),
    }


def terms(key: Key) -> str:
    """What the key may, in a line."""
    return ", ".join((
        "any model" if "*" in key.models else "models " + " ".join(key.models),
        *limits(key),
        spending(key) if key.budget else "no budget",
        f"until {moment(key.expires_at)}" if key.expires_at else "no end",
        *(["admin"] if key.admin else []),
    ))


def limits(key: Key) -> Iterator[str]:
    for row in fields(Limits):
        if (limit := getattr(key.limits, row.name)) is not None:
            yield f"{row.name.replace('_', ' ')} {limit}"


def spending(key: Key) -> str:
    return f"${dollars(key.budget.nanodollars)} a {key.budget.per}" if key.budget else NONE


def use(figures: Mapping[str, Any]) -> str:
    """What was used, in words."""
    cost = dollars(round(figures["cost_usd"] * NANO))
    return f"{figures['requests']} requests, {figures['tokens']} tokens, ${cost}"


def dollars(amount: int) -> str:
    """An amount of nanodollars, exactly."""
    whole, rest = divmod(amount, NANO)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")


def moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else NONE
