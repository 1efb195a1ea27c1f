"""What answers cost: one table from patterns of model names to prices, exact to the last nanodollar."""
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from aioapp.callers import matching
from aioapp.messages.billing import Usage
from aioapp.usage.rates import LONG, MILLION, Price, price

REMEMBERED = 512
"""Names of models whose price is not looked up again. Callers choose names, so there must be an end to them."""
DEAREST = Decimal(MILLION)
FINEST = Decimal("1e-9")
NEEDED = {"input", "output"}
TIMES = {"fast", "us", "long"}
KINDS = NEEDED | TIMES | {"cache_write", "cache_write_1h", "cache_read", "web_search"}


class Row(NamedTuple):
    pattern: str
    matches: re.Pattern[str]
    price: Price


class Prices:
    """The table. The first pattern that matches a model's name wins, and the last one should match every name."""

    __slots__ = ("_row", "_rows")

    def __init__(self, rows: Mapping[str, Price]) -> None:
        self._rows = tuple(Row(pattern, matching(pattern), price) for pattern, price in rows.items())
        self._row: Callable[[str], Row] = lru_cache(REMEMBERED)(self._find)

    def cost(self, model: str, usage: Usage) -> int:
        """What an answer of `model` costs, in nanodollars, rounded up."""
        billing, price = usage.billing, self._row(model).price
        if billing.iterations or billing.searches or billing.fast or billing.us or billing.batch or price.long != 1:
            return ceil(self._exact(model, usage))
        return -(-price.tokens(usage) // price.parts)

    def most(self, model: str, *, input: int, output: int, hour: bool = False, fast: bool = False) -> int:
        """What so many tokens may cost at most, in nanodollars: as if all input were counted in the dearest way, and
        wherever Claude runs, for an account may be kept to the United States without a word in the request.

        `hour` says that the request asks to keep something in the cache for an hour, `fast` that it asks for fast mode:
        else Claude does neither. Searches, and models of other names that the request lets run, come on top.
        """
        price = self._row(model).price
        parts = input * (price.dearest_1h if hour else price.dearest) + output * price.output
        over, under = price.raised_fast if fast else price.raised
        if input > LONG and price.long > 1:
            over, under = over * price.long.numerator, under * price.long.denominator
        return -(-parts * over // under)

    def name(self, model: str) -> str:
        """The pattern that the model's price comes from: unlike the names of models, these are few."""
        return self._row(model).pattern

    def guesses(self, model: str) -> bool:
        """Whether the model is not in the table, so that what it costs is a guess."""
        return self._row(model).price.guess

    def over(self, rows: Mapping[str, Price]) -> "Prices":
        """This table with other rows before its own."""
        return Prices({**rows, **{row.pattern: row.price for row in self._rows if row.pattern not in rows}})

    def _exact(self, model: str, usage: Usage) -> Fraction:
        price, billing = self._row(model).price, usage.billing
        searches = billing.searches * price.search
        if billing.iterations:
            return sum((self._exact(name or model, part) for name, part in billing.iterations), searches)
        return Fraction(price.tokens(usage), price.parts) * price.times(usage) + searches

    def _find(self, model: str) -> Row:
        return next((row for row in self._rows if row.matches.fullmatch(model)), self._rows[-1])


TWICE = Fraction(2)
DEFAULT_PRICES = Prices({
    "claude-opus-5-5*": price(input=Decimal(4), output=Decimal(20), cache_read=Decimal("0.2"), fast=TWICE),
    "claude-sonnet-5-5*": price(input=Decimal(2), output=Decimal(10), cache_read=Decimal("0.1")),
    "claude-haiku-5-5*": price(input=Decimal("0.1"), output=Decimal("0.5"), long=Fraction(5)),
    "claude-fable-5-2*": price(input=Decimal(8), output=Decimal(40), cache_read=Decimal("0.2"), fast=TWICE),
    "claude-sonnet-4-6*": price(input=Decimal(3), output=Decimal(15)),
    "*": price(input=Decimal(15), output=Decimal(75), fast=TWICE, guess=True),
})
"""Anthropic's list in November 2026, as Claude Code reckons by it. A model that is not on it is taken for the dearest
that there ever was, so that a budget holds for it too."""


def parse_prices(text: str) -> Prices:
    """The defaults with other prices before them: `{"pattern": {"input": 2, "output": 10}, …}`, in dollars per million
    tokens, with `cache_write`, `cache_write_1h` and `cache_read` where they are not as usual, `web_search` in dollars
    for one, and `fast`, `us` and `long`, which say how many times the price fast mode, the United States and a long
    prompt cost.

    Raises `ValueError` with one line that says what is wrong.
    """
    try:
        table = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        raise ValueError("a table of prices: it is not valid JSON") from None
    if not isinstance(table, dict):
        raise ValueError("a table of prices: it is not a JSON object")
    rows = {pattern: price_in(entry, named=json.dumps(pattern)) for pattern, entry in table.items()}
    return DEFAULT_PRICES.over(rows)


def price_in(entry: object, *, named: str) -> Price:
    if not isinstance(entry, dict) or not NEEDED <= entry.keys() <= KINDS:
        raise ValueError(f"a table of prices: {named} needs input and output, and takes "
                         f"{', '.join(sorted(KINDS - NEEDED))}")
    for kind, amount in entry.items():
        if not is_price(amount):
            unit = "a number of times" if kind in TIMES else "in dollars"
            raise ValueError(f"a table of prices: {kind} of {named} is not {unit}, from 0 to a million, "
                             "with at most 9 decimals")
    return price(**entry)


def is_price(amount: object) -> bool:
    """Whether it is a number that is worth exact arithmetic; a billion digits would be none."""
    return isinstance(amount, Decimal) and 0 <= amount <= DEAREST and amount == amount.quantize(FINEST)
