"""What a caller may do in a minute and at once, and spend in a period."""
from aioapp.limits.allowance import Allowance, Reservation
from aioapp.limits.remaining import Remaining

__all__ = ["Allowance", "Remaining", "Reservation"]
