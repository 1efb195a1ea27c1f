"""Money, counted in whole nanodollars: the cheapest token there is costs ten."""
import re
from decimal import Decimal

NANO = 1_000_000_000
"""Nanodollars in a dollar."""
MOST_NANODOLLARS = 10**15
"""A million dollars: no generation costs more, and thousands of such still add up to less than 2**63."""
MOST_DOLLARS = 10**9
"""Of a budget."""
AMOUNT = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")


def nanodollars(text: str) -> int:
    """What people write as dollars, exactly. Raises `ValueError` with what it takes."""
    if AMOUNT.fullmatch(text) and 0 < Decimal(text) <= MOST_DOLLARS:
        return int(Decimal(text) * NANO)
    raise ValueError(f"dollars, more than 0 and at most {MOST_DOLLARS}, with at most 9 decimals")
