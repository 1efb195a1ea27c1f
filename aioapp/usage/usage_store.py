"""What the accounts are kept in."""
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, Protocol

from aioapp.callers import Caller
from aioapp.usage.buffer import Pending

By = Literal["key", "model", "day"]
Figures = dict[str, Any]


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

    async def by(self, column: By, *, since: date, until: date) -> tuple[Figures, list[Figures]]:
        """All figures added up, and a row for each key, model or day."""

    async def own(self, key: str | None, *, today: date) -> Figures:
        """What a key sees of itself; without one, what all callers without one have used together."""

    async def latest(self, *, limit: int, key: str | None = None) -> list[Figures]:
        """The latest generations, the last one first."""
