"""Budgets: what may still be spent, and what a caller is told that may not spend so much."""
from datetime import datetime
from typing import NamedTuple

from aioapp.callers import Budget, Spent
from aioapp.money import NANO
from aioapp.errors import BadRequest, BudgetSpent, StoreUnavailable
from aioapp.store.embedded.board.account import Account
from aioapp.store.embedded.board.directory import SETTLING, Directory
from aioapp.store.embedded.board.purse import Purse

MINUTE = 60
PER_DOLLAR = 10_000
HUNDREDTH = NANO // PER_DOLLAR
"""A hundredth of a cent, in nanodollars."""


class Wanted(NamedTuple):
    """What one generation may cost at most, of which budget, and what the database is known to say of that."""

    budget: Budget
    nanodollars: int
    spent: Spent


def learn(directory: Directory, account: Account, *, second: int, wanted: Wanted) -> None:
    """Have the account know what the database said.

    Raises `StoreUnavailable` where others may spend what cannot be seen here, and `Stale` as `Purse.learn` does.
    """
    if account is directory.overflow:
        raise StoreUnavailable("Too many accounts are in use at once.", retry_after=MINUTE)
    if directory.is_settling(second):
        raise StoreUnavailable("What others spend is being counted anew.", retry_after=SETTLING)
    spent = wanted.spent
    account.purse.learn(spent.period, spent.nanodollars, as_of=directory.number(spent.mark))


def refused(purse: Purse, wanted: Wanted) -> BudgetSpent | None:
    budget, more = wanted.budget, wanted.nanodollars
    if purse.taken + more <= budget.nanodollars:
        return None
    return BudgetSpent(refusal(budget, spent=purse.spent, held=purse.held, wanted=more, at=wanted.spent.at),
                       refused="budget")


def refusal(budget: Budget, *, spent: int, held: int, wanted: int, at: datetime) -> str:
    whole, left = f"{dollars(budget.nanodollars)} a {budget.per}", budget.nanodollars - spent - held
    renews = f"the budget renews on {budget.renews(at).isoformat()}."
    if left > 0:
        return f"{about(left)} of {whole} are left and this may cost {about(wanted, up=True)}; {renews}"
    aside = " or set aside for running requests" if spent < budget.nanodollars else ""
    return f"{whole} are spent{aside}; {renews}"


def too_dear(budget: Budget, nanodollars: int) -> BadRequest:
    whole = f"{dollars(budget.nanodollars)} a {budget.per}"
    return BadRequest(f"This may cost {about(nanodollars, up=True)}, and the key's whole budget is {whole}: "
                      "lower max_tokens, or choose a cheaper model.", refused="over_budget")


def about(nanodollars: int, *, up: bool = False) -> str:
    """In dollars, to a hundredth of a cent: of two amounts, the greater one must not look like the lesser."""
    amount = -(-nanodollars // HUNDREDTH) if up else nanodollars // HUNDREDTH
    return f"${amount // PER_DOLLAR}.{amount % PER_DOLLAR:04d}"


def dollars(nanodollars: int) -> str:
    """Exactly: with cents, and with what is below them where there is such."""
    below = f"{nanodollars % NANO:09d}"
    return f"${nanodollars // NANO}.{below[:2]}{below[2:].rstrip('0')}"
