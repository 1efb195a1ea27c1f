"""What a token costs: one table from patterns of model names to prices, exact to the last nanodollar."""
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import NamedTuple

from aioapp.callers import matching
from aioapp.money import NANO
from aioapp.messages.events import Usage

MILLION = 1_000_000
REMEMBERED = 512
"""Names of models whose price is not looked up again. Callers choose names, so there must be an end to them."""
DEAREST = Decimal(MILLION)
FINEST = Decimal("1e-9")
NEEDED = {"input", "output"}
KINDS = NEEDED | {"cache_write", "cache_read"}


class Price(NamedTuple):
    """What a token costs, by kind, in whole `parts` of a nanodollar: so it is whole numbers, however odd the price."""

    input: int
    output: int
    cache_write: int
    cache_read: int
    parts: int

    def of(self, usage: Usage) -> int:
        """In nanodollars, rounded up. Counts below zero, which only nonsense can bring, take nothing off."""
        cost = (max(usage.input_tokens, 0) * self.input + max(usage.output_tokens, 0) * self.output
                + max(usage.cache_creation_input_tokens, 0) * self.cache_write
                + max(usage.cache_read_input_tokens, 0) * self.cache_read)
        return -(-cost // self.parts)


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
        """What the tokens cost, in nanodollars."""
        return self._row(model).price.of(usage)

    def most(self, model: str, *, input: int, output: int) -> int:
        """What so many tokens may cost at most, in nanodollars: as if all input were counted in the dearest way."""
        price = self._row(model).price
        dearest = max(price.input, price.cache_write, price.cache_read)
        return -(-(input * dearest + output * price.output) // price.parts)

    def name(self, model: str) -> str:
        """The pattern that the model's price comes from: unlike the names of models, these are few."""
        return self._row(model).pattern

    def over(self, rows: Mapping[str, Price]) -> "Prices":
        """This table with other rows before its own."""
        return Prices({**rows, **{row.pattern: row.price for row in self._rows if row.pattern not in rows}})

    def _find(self, model: str) -> Row:
        return next((row for row in self._rows if row.matches.fullmatch(model)), self._rows[-1])


def price(
        *, input: Fraction | Decimal, output: Fraction | Decimal, cache_write: Fraction | Decimal | None = None,
        cache_read: Fraction | Decimal | None = None,
) -> Price:
    """A price that is told in dollars per million tokens.

    Unless told, what is written to Claude's cache costs 1.25 times the input and what is read from it a tenth
    (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
    """
    plain = Fraction(input)
    kinds = (plain, Fraction(output), plain * 5 / 4 if cache_write is None else Fraction(cache_write),
             plain / 10 if cache_read is None else Fraction(cache_read))
    exact = [kind * NANO / MILLION for kind in kinds]
    parts = lcm(*(kind.denominator for kind in exact))
    return Price._make([*(int(kind * parts) for kind in exact), parts])


DEFAULT_PRICES = Prices({
    "claude-opus-5-5*": price(input=Decimal(4), output=Decimal(20)),
    "claude-sonnet-5-5*": price(input=Decimal(2), output=Decimal(10)),
    "claude-haiku-5-5*": price(input=Decimal("0.1"), output=Decimal("0.5")),
    "claude-fable-5-2*": price(input=Decimal(8), output=Decimal(40)),
    "*": price(input=Decimal(15), output=Decimal(75)),
})
"""Anthropic's list in November 2026. A model that is not on it is taken for the dearest that there ever was, so that a
budget holds for it too."""


def parse_prices(text: str) -> Prices:
    """The defaults with other prices before them: `{"pattern": {"input": 2, "output": 10}, …}`, in dollars per million
    tokens, with `cache_write` and `cache_read` where they are not as usual.

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
        raise ValueError(f"a table of prices: {named} needs input and output, and takes cache_write and cache_read")
    for kind, amount in entry.items():
        if not is_price(amount):
            raise ValueError(f"a table of prices: {kind} of {named} is not in dollars, from 0 to a million, "
                             "with at most 9 decimals")
    return price(**entry)


def is_price(amount: object) -> bool:
    """Whether it is a number that is worth exact arithmetic; a billion digits would be none."""
    return isinstance(amount, Decimal) and 0 <= amount <= DEAREST and amount == amount.quantize(FINEST)
