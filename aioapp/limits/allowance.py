"""What a caller may do and spend, whatever keeps the counts: limits and budget are one reservation with one refusal.

Errors are `StoreUnavailable` where the counts cannot be used, beside those that are named.
"""
from typing import Protocol

from aioapp.callers import Caller
from aioapp.limits.remaining import Remaining


class Reservation(Protocol):
    """A slot, tokens and money that are held until `settle`."""

    def settle(self, tokens: int, nanodollars: int) -> None:
        """Give back what is held, and count what was really used and spent. Only the first call counts.

        It never waits and never fails, for whoever settles has other things to end: where the counts cannot be used,
        it is done as soon as they can be.
        """


class Allowance(Protocol):
    """Holds callers to their limits and budgets."""

    async def admit(self, caller: Caller) -> int:
        """Count one request. Returns the second that it was counted in, for `refund`. Raises `LimitReached`."""

    def refund(self, caller: Caller, counted: int) -> None:
        """Take a request out of the count again, because something else refused it. It never waits and never fails."""

    async def reserve(self, caller: Caller, *, tokens: int, nanodollars: int) -> Reservation:
        """All that a generation may take, or nothing: whoever refuses it, it costs nothing elsewhere.

        Raises `BudgetSpent`, `LimitReached`, or `BadRequest` where waiting would not help.
        """

    async def remaining(self, caller: Caller) -> Remaining:
        """Where the caller stands with its limits, as far as that is known without asking another machine."""
