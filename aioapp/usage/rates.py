"""What one model's tokens cost: compiled once, from dollars a million to whole numbers, so that all sums are exact."""
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from aioapp.messages.billing import Usage
from aioapp.money import NANO

MILLION = 1_000_000
Amount = Fraction | Decimal
BATCH = Fraction(1, 2)
"""Of the price, for what is asked for in a batch
(https://platform.claude.com/docs/en/build-with-claude/batch-processing)."""
US = Fraction(11, 10)
"""Times the price, where Claude is kept to the United States
(https://platform.claude.com/docs/en/build-with-claude/data-residency)."""
SEARCH = Decimal("0.01")
"""Dollars for a search of the web, whatever the model (https://platform.claude.com/docs/en/about-claude/pricing)."""


LONG = 100_000
"""Tokens of a prompt, those read from and written to the cache included; one that has more may cost more."""


class Price(NamedTuple):
    """What a token costs, by kind, in whole `parts` of a nanodollar: so it is whole numbers, however odd the price.

    `search` is the nanodollars for a search of the web; `fast`, `us` and `long` are how many times the tokens' price
    fast mode, the United States and a prompt of more than `LONG` tokens cost. `dearest` is the most that a token of
    input may cost, `dearest_1h` the same where it may be kept for an hour; `raised` and `raised_fast` are the most that
    such parts may come to, as a fraction of nanodollars in two whole numbers. `guess` says that the price is not known.
    """

    input: int
    output: int
    cache_write: int
    cache_write_1h: int
    cache_read: int
    parts: int
    search: Fraction
    fast: Fraction
    us: Fraction
    long: Fraction
    dearest: int
    dearest_1h: int
    raised: tuple[int, int]
    raised_fast: tuple[int, int]
    guess: bool

    def tokens(self, usage: Usage) -> int:
        """What the counts cost, in parts. Counts below zero, which only nonsense can bring, take nothing off."""
        hour = usage.billing.hour
        return (max(usage.input_tokens, 0) * self.input + max(usage.output_tokens, 0) * self.output
                + max(usage.cache_creation_input_tokens - hour, 0) * self.cache_write + hour * self.cache_write_1h
                + max(usage.cache_read_input_tokens, 0) * self.cache_read)

    def times(self, usage: Usage) -> Fraction:
        """What the tokens' price is multiplied by."""
        billing = usage.billing
        times = self.fast if billing.fast else Fraction(1)
        times *= self.long if usage.total - usage.output_tokens > LONG else 1
        return times * (self.us if billing.us else 1) * (BATCH if billing.batch else 1)


def price(
        *, input: Amount, output: Amount, cache_write: Amount | None = None, cache_write_1h: Amount | None = None,
        cache_read: Amount | None = None, web_search: Amount = SEARCH, fast: Amount = Fraction(1), us: Amount = US,
        long: Amount = Fraction(1), guess: bool = False,
) -> Price:
    """A price that is told in dollars: per million tokens, and for one search.

    Unless told, what is written to Claude's cache costs 1.25 times the input, what is kept there for an hour 1.6 times
    that (so twice the input), and what is read from it a tenth of the input
    (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
    """
    plain = Fraction(input)
    write = plain * 5 / 4 if cache_write is None else Fraction(cache_write)
    dollars = (plain, Fraction(output), write, write * 8 / 5 if cache_write_1h is None else Fraction(cache_write_1h),
               plain / 10 if cache_read is None else Fraction(cache_read))
    exact = [kind * NANO / MILLION for kind in dollars]
    parts = lcm(*(kind.denominator for kind in exact))
    read, written, short, hour, cached = (int(kind * parts) for kind in exact)
    dearest, raised = max(read, short, cached), max(Fraction(us), Fraction(1)) / parts
    raised_fast = raised * max(Fraction(fast), Fraction(1))
    return Price(
        input=read, output=written, cache_write=short, cache_write_1h=hour, cache_read=cached, parts=parts,
        search=Fraction(web_search) * NANO, fast=Fraction(fast), us=Fraction(us), long=Fraction(long), dearest=dearest,
        dearest_1h=max(dearest, hour), raised=raised.as_integer_ratio(), raised_fast=raised_fast.as_integer_ratio(),
        guess=guess)
