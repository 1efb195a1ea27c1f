"""What state a key is in, by its own terms and by where it stands with them."""
from datetime import datetime, timedelta
from typing import Literal

from aioapp.callers import Standing
from aioapp.keys.key import Key

State = Literal["active", "near_budget", "spent", "limited", "expires_soon", "expired", "revoked"]

STATES: tuple[State, ...] = ("revoked", "expired", "spent", "limited", "near_budget", "expires_soon", "active")
"""Of those that are true of a key, the first is told."""
LATELY = timedelta(minutes=5)
"""For so long a refusal says something of the key that was refused."""
SOON = timedelta(days=7)
"""Before a key expires that is told."""


def state_of(key: Key, standing: Standing, *, at: datetime) -> State:
    """One of `STATES`. A key whose budget has refused it is spent, though a little may be left."""
    if (ended := key.state(at)) != "active":
        return ended
    budget = key.budget
    if budget is not None and (budget.is_spent(standing.of(budget)) or is_late(standing.unpaid_at, at=at)):
        return "spent"
    if is_late(standing.limited_at, at=at):
        return "limited"
    if budget is not None and budget.is_near(standing.of(budget)):
        return "near_budget"
    return "expires_soon" if key.expires_at is not None and key.expires_at - at <= SOON else "active"


def is_late(refused: datetime | None, *, at: datetime) -> bool:
    return refused is not None and at - refused <= LATELY
