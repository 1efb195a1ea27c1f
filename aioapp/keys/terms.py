"""A key's terms as people write them. Each function raises `ValueError` with what it takes."""
import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from aioapp.callers import NANO
from aioapp.keys.key import END_OF_TIME, LONGEST_GRACE, MOST

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
AMOUNT = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")
WHILE = re.compile(r"([0-9]{1,9})([smhd])")


def count(text: str) -> int:
    if re.fullmatch("[0-9]{1,10}", text) and 1 <= int(text) <= MOST:
        return int(text)
    raise ValueError(f"a whole number from 1 to {MOST}")


def nanodollars(text: str) -> int:
    """Dollars, exactly."""
    if AMOUNT.fullmatch(text) and 0 < Decimal(text) <= MOST:
        return int(Decimal(text) * NANO)
    raise ValueError(f"dollars, more than 0 and at most {MOST}, with at most 9 decimals")


def expiry(text: str, *, at: datetime) -> datetime:
    """ISO 8601: a date is the last day, in UTC, and a time has its offset. It comes after `at`."""
    with suppress(ValueError, TypeError, OverflowError):  # TypeError: a time without offset is neither before nor after
        if at < (end := end_of(text)) < END_OF_TIME:
            return end
    raise ValueError("expires_at: a date or a time to come, such as 2027-01-31 or 2027-01-31T12:00:00Z")


def end_of(text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def grace(text: str) -> timedelta:
    """A while such as 0s, 10m, 24h or 7d."""
    if said := WHILE.fullmatch(text):
        span = timedelta(**{UNITS[said[2]]: int(said[1])})
        if span <= LONGEST_GRACE:
            return span
    raise ValueError(f"a number with s, m, h or d behind it, at most {LONGEST_GRACE.days}d")
