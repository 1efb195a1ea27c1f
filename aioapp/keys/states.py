"""What a key is like to whoever looks after it: more than whether it lets its holder in."""
from datetime import datetime, timedelta

from aioapp.keys.key import Key

SOON = timedelta(days=7)
STATES = ("active", "near_budget", "spent", "expires_soon", "expired", "revoked")


def standing(key: Key, *, spent: int, at: datetime) -> str:
    """One of `STATES`, the worst that holds; `spent` is of its budget's period, in nanodollars."""
    ended = key.state(at)
    if ended != "active":
        return ended
    if key.budget is not None and key.budget.is_near(spent):
        return "spent" if key.budget.is_spent(spent) else "near_budget"
    return "expires_soon" if key.expires_at is not None and key.expires_at - at <= SOON else "active"
