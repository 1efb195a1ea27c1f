"""Money, counted in whole nanodollars: the cheapest token there is costs ten."""

NANO = 1_000_000_000
"""Nanodollars in a dollar."""
MOST_NANODOLLARS = 10**15
"""A million dollars: no generation costs more, and thousands of such still add up to less than 2**63."""
