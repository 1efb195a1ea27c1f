"""The trail of what was done to keys: who made, changed, rotated, revoked or forgot which one, and when."""
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from aioapp.callers import Budget
from aioapp.keys.changes import TERMS, term
from aioapp.keys.key import Key
from aioapp.keys.text import NONE, budget_object, moment, spending
from aioapp.money import NANO

Deed = Literal["created", "changed", "rotated", "revoked", "forgotten"]
DEEDS: tuple[Deed, ...] = get_args(Deed)
COMMAND_LINE = "command line"
"""Who it was that no key says; no key can have this name, for it has a blank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Of one term; `before` and `after` are JSON."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`number` rises with every entry, `by` is a key's name or `COMMAND_LINE`."""

    number: int
    at: datetime
    by: str
    deed: Deed
    key: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`entries`, the latest first; `next` is the cursor of those before them, None where there are none."""

    entries: tuple[Entry, ...]
    next: int | None


def differences(before: Key, after: Key) -> tuple[Change, ...]:
    return tuple(
        Change(field=name, before=as_json(term(before, name)), after=as_json(term(after, name)))
        for name in TERMS if term(before, name) != term(after, name))


def terms_given(key: Key) -> tuple[Change, ...]:
    """What tells a new key from one of which nothing was said."""
    return differences(Key(name=key.name, created_at=key.created_at), key)


def as_json(value: Any) -> Any:
    match value:
        case Budget():
            return budget_object(value)
        case tuple():
            return list(value)
        case datetime():
            return value.isoformat()
    return value


def as_object(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(), "by": entry.by, "what": entry.deed, "key": entry.key,
        "changes": [{"field": change.field, "from": change.before, "to": change.after} for change in entry.changes]}


def row_of(entry: Entry) -> dict[str, str]:
    """The entry as a row of a table, by the names of its columns."""
    changes = (f"{change.field} {said(change.before)} -> {said(change.after)}" for change in entry.changes)
    return {"at": moment(entry.at), "by": entry.by, "what": entry.deed, "key": entry.key,
            "changes": "; ".join(changes) or NONE}


def said(value: Any) -> str:
    match value:
        case None:
            return NONE
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(value)
        case {"usd": usd, "per": per, "strict": strict}:
            return spending(Budget(nanodollars=round(usd * NANO), per=per, strict=strict))
    return str(value)
