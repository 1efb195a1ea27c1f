"""What the accounts are kept in."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, Protocol

from aioapp.callers import Caller, Standing
from aioapp.usage.buffer import Pending

By = Literal["key", "model", "day", "owner"]
Figures = dict[str, Any]
CURSOR = "[0-9a-f]{11}[01][0-9a-f]{15}"
"""Of a page of requests: whatever is written so is a place among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which requests are asked for: those of which all that is given is true. Both ends of the span belong to it."""

    key: str | None = None
    model: str | None = None
    outcome: str | None = None
    status: int | None = None
    error: str | None = None
    request_id: str | None = None
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestsPage:
    """The latest first; `next` is the cursor of those that come after, None where there are none."""

    requests: Sequence[Figures]
    next: str | None


class UsageStore(Protocol):
    """Days are of UTC, and both ends of a span belong to it. Each raises `StoreUnavailable`."""

    @property
    def ready(self) -> bool:
        """Whether what is spent can be written, as far as is known."""

    @property
    def trouble(self) -> str | None:
        """A sentence for anybody that says what cannot be done, None where all can: no part of it is a path."""

    @property
    def sums(self) -> Mapping[tuple[str, str], int]:
        """Nanodollars by key and period, of this day and this month, as far as is known; `EVERYBODY` is one of the
        keys. It is for looking at, and changes under whoever holds it."""

    async def add(self, batch: Pending) -> None:
        """Keep what is in it: all of it or, where this raises, nothing."""

    async def spent(self, caller: Caller) -> int:
        """Nanodollars, in the current period of the caller's budget; nothing where it has none."""

    async def total(self, *, since: date, until: date, key: str | None = None) -> Figures:
        """All figures of the span added up, of one key or of all callers."""

    async def by(self, columns: Sequence[By], *, since: date, until: date) -> tuple[Figures, list[Figures]]:
        """All figures added up, and a row for each combination of the columns' values, of which there are one to three.

        An owner is the one that a key has now. Raises `BadRequest` for more rows than anybody reads.
        """

    async def refusals(self, *, since: date, until: date, key: str | None = None) -> list[Figures]:
        """How often each key was refused for each reason, and when that was last: the most frequent first."""

    async def standings(self, *, at: datetime, key: str | None = None) -> Mapping[str, Standing]:
        """Where each key stands that has used anything or was refused lately, by name; or one of them alone."""

    async def own(self, key: str | None, *, today: date) -> Figures:
        """What a key sees of itself; without one, what all callers without one have used together."""

    async def requests(self, wanted: Wanted, *, limit: int, cursor: str | None = None) -> RequestsPage:
        """The latest of the generations and refusals that are kept, from a page's cursor on, which is a `CURSOR`."""
