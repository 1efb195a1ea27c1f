"""What each model takes, so that a setting it does not take is left out instead of failing the call.

From Anthropic's notes on the 4.6, 4.7 and 5 generations and the `thinking.types` of `GET /v1/models/{id}`. A name that
says no version (one of your own gateway, say) is taken for a model of the newest kind of which nothing else is known.
"""
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Thinking = Literal["disabled", "between_tools"]

LINE_FIRST = re.compile(r"claude-(?P<line>[a-z]+)-(?P<major>\d)(?:-(?P<minor>\d))?(?!\d)")
VERSION_FIRST = re.compile(r"claude-(?P<major>\d)(?:-(?P<minor>\d))?-(?P<line>[a-z]+)")
NEWEST = (99, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """`quiet` is the `thinking.type` that makes the model think least; None says so best by saying nothing."""

    temperature: bool
    effort: bool
    quiet: Thinking | None


@lru_cache(512)  # callers choose names, so there must be an end to them
def abilities(model: str) -> Abilities:
    found = LINE_FIRST.search(model) or VERSION_FIRST.search(model)
    line = found["line"] if found else ""
    version = (int(found["major"]), int(found["minor"] or 0)) if found else NEWEST
    return Abilities(
        temperature=version <= (4, 6),
        effort=version >= ((4, 5) if line == "opus" else (4, 6)),
        quiet=quiet(line, version) if found else None,
    )


def quiet(line: str, version: tuple[int, int]) -> Thinking | None:
    """Up to 4.8 models think only when asked. From 5 on they think unless told, and most refuse `disabled`."""
    if version < (5, 0):
        return None
    return "disabled" if line == "haiku" else "between_tools"
