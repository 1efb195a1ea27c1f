"""What the ledger has others count, so that budgets are exact: what is charged is seen before it is written."""
from collections.abc import Mapping
from typing import Protocol

from aioapp.callers import Caller


class Counts(Protocol):
    """What all processes count together of budgets: what is charged, until it is written. It raises nothing."""

    def mark(self) -> object | None:
        """The moment, to tell what is read after it."""

    def charge(self, caller: Caller, nanodollars: int) -> None: ...

    def written(self, charges: Mapping[tuple[str, str], int]) -> None:
        """By account and day."""
