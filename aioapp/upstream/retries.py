"""When a call that failed before its first byte is tried again, and how long it waits before."""
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

TRANSIENT = frozenset({408, 409, 429, 529})
LONGEST_WAIT = 8.0
"""Seconds. A longer wait that Claude asks for is the caller's to decide about, so it is told at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Twice at most, after about 0.5 and 1 s, less up to a half by chance, so that callers do not return in step."""

    most: int = 2
    first_wait: float = 0.5
    sleep: Callable[[float], Awaitable[None]]
    chance: Callable[[], float] = random.random

    def wait_before(self, attempt: int, *, asked: int | None, left: float) -> float | None:
        """Seconds to wait before try number `attempt` (the first again is 1), or None to give up.

        `asked` is what Claude asked to wait, `left` what the caller's deadline leaves.
        """
        wait = float(asked) if asked else self.first_wait * 2 ** (attempt - 1) * (1 - self.chance() / 2)
        return wait if attempt <= self.most and wait <= LONGEST_WAIT and wait < left else None


def is_transient(status: int, headers: Mapping[str, str]) -> bool:
    """Whether another try may fare better: Claude's own word for it, `x-should-retry`, else the status."""
    match headers.get("x-should-retry"):
        case "true":
            return True
        case "false":
            return False
    return status in TRANSIENT or status >= 500
