"""Changes of a key's terms, as a JSON merge patch has them (RFC 7396): what is not named stays, and None lifts."""
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from aioapp.callers import Budget, Limits
from aioapp.keys.key import TEXTS, Key

Patch = Mapping[str, Any]
"""New values by the names of terms. A budget's is a patch of `nanodollars`, `per` and `strict`."""

LIMITS = tuple(row.name for row in fields(Limits))
TERMS = ("admin", *LIMITS, "budget", "models", "expires_at", *TEXTS)
ANY_MODEL = ("*",)


def merged(key: Key, patch: Patch) -> Key:
    """The key with what `patch` says of it.

    Raises `ValueError`, with one line that names the field, where that is no key.
    """
    changed: dict[str, Any] = {name: patch[name] for name in ("expires_at", *TEXTS) if name in patch}
    if "admin" in patch:
        changed["admin"] = bool(patch["admin"])
    if "models" in patch:
        changed["models"] = ANY_MODEL if patch["models"] is None else tuple(patch["models"])
    if "budget" in patch:
        changed["budget"] = merged_budget(key.budget, patch["budget"])
    limits = replace(key.limits, **{name: patch[name] for name in LIMITS if name in patch})
    return replace(key, limits=limits, **changed)


def merged_budget(budget: Budget | None, patch: Patch | None) -> Budget | None:
    if patch is None:
        return None
    parts = {**(asdict(budget) if budget else {}), **patch}
    if parts.get("nanodollars") is None:
        raise ValueError("budget.usd: a budget needs an amount")
    if parts.get("per") is None:
        raise ValueError("budget.per: a budget is for a day or for a month")
    return Budget(nanodollars=parts["nanodollars"], per=parts["per"], strict=bool(parts.get("strict")))


def term(key: Key, name: str) -> Any:
    """The value of one of `TERMS`."""
    return getattr(key.limits if name in LIMITS else key, name)
