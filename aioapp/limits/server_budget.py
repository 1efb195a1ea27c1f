"""The budget of the whole server: a second reservation for each generation, beside that of its caller."""
from datetime import UTC, datetime

from aioapp.callers import Budget, Caller
from aioapp.errors import BadRequest, BudgetSpent, ServerBudgetSpent
from aioapp.limits.allowance import Allowance, Reservation

TOO_DEAR = ("This may cost more than the whole budget of this server: lower max_tokens, or choose a cheaper model. "
            "This is this server's limit, not Claude's.")
SPENT = ("The budget of this whole server is spent, or what is left of it is less than this may cost. It begins anew "
         "on {}. This is this server's limit, not Claude's.")
"""No amounts: what all others spend is not for every caller to know."""


class Both:
    """A `Reservation` that is two."""

    __slots__ = ("_everybodys", "_own")

    def __init__(self, own: Reservation, everybodys: Reservation) -> None:
        self._own = own
        self._everybodys = everybodys

    def settle(self, tokens: int, nanodollars: int) -> None:
        self._own.settle(tokens, nanodollars)
        self._everybodys.settle(tokens, nanodollars)


class ServerBudget:
    """An `Allowance` that holds callers to what `inner` does, and to the `budget` that `everybody` has.

    Where the server has none, nothing of this stands in anybody's way: `inner` is used as it is.
    """

    def __init__(self, inner: Allowance, *, everybody: Caller, budget: Budget) -> None:
        self._reserve = inner.reserve
        self._everybody = everybody
        self._budget = budget
        self.admit = inner.admit
        self.refund = inner.refund
        self.remaining = inner.remaining

    async def reserve(self, caller: Caller, *, tokens: int, nanodollars: int) -> Reservation:
        """Of what one refuses, nothing is held of the other."""
        own = await self._reserve(caller, tokens=tokens, nanodollars=nanodollars)
        try:
            return Both(own, await self._reserve(self._everybody, tokens=tokens, nanodollars=nanodollars))
        except BaseException as error:
            own.settle(0, 0)
            raise told(error, self._budget) from None


def told(error: BaseException, budget: Budget) -> BaseException:
    """The refusal, as a caller is told it who shares this budget with all others."""
    match error:
        case BudgetSpent():
            return ServerBudgetSpent(SPENT.format(budget.renews(datetime.now(UTC)).isoformat()))
        case BadRequest():
            return BadRequest(TOO_DEAR)
    return error


def held_to(inner: Allowance, everybody: Caller) -> Allowance:
    """`inner`, and the server's budget, if there is one."""
    if everybody.budget is None:
        return inner
    return ServerBudget(inner, everybody=everybody, budget=everybody.budget)
