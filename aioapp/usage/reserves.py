"""What a call sets aside before Claude is asked: for a plain prompt the most it can take, for a raw one what it will.

A raw prompt says what it may take at most in the most useless way: an agent asks for 128,000 tokens to say hello. So of
each key it is learned what its last answers took, and what they took is settled in the end.
"""
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from aioapp.callers import Caller
from aioapp.errors import BadRequest
from aioapp.messages.events import Usage
from aioapp.messages.prompt import Prompt
from aioapp.usage.prices import Prices

REMEMBERED = 1024
"""Callers of whom something is remembered: those that asked last."""
ANSWERS = 64
"""Of each caller, so many of the last answers."""
ENOUGH = 8
"""Answers after which a caller is known: before, no text is taken for less than `FIRST_RATIO`."""
FIRST_RATIO = 0.5
"""Tokens in a byte of text; of English it is a quarter."""
MARGIN = 1.25
"""So much more input than the dearest of the last answers took."""
LEAST_OUTPUT, TIMES_OUTPUT = 8000, 4
"""Tokens of output that are set aside at least, and so many times the most that the last answers took."""


@dataclass(slots=True)
class Past:
    """The last answers of a caller: input tokens in a byte of text, and output tokens."""

    ratios: deque[float] = field(default_factory=lambda: deque(maxlen=ANSWERS))
    outputs: deque[int] = field(default_factory=lambda: deque(maxlen=ANSWERS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Tokens and nanodollars. `is_bound` says that the call cannot take more."""

    tokens: int
    nanodollars: int
    is_bound: bool


class Reserves:
    """One process's knowledge of what its callers' answers take."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._past: OrderedDict[str, Past] = OrderedDict()

    def of(self, caller: Caller, prompt: Prompt) -> Reserve:
        """What the call sets aside. Raises `BadRequest` where a strict budget would need a bound that there is not."""
        strict, any_terms = caller.budget is not None and caller.budget.strict, prompt.verbatim
        if any_terms and not strict:
            return self._expected(caller, prompt)
        if strict and prompt.unbounded:
            raise BadRequest(f"Your key's budget is strict, and nobody can say beforehand what {prompt.unbounded} "
                             "costs. This is this server's rule, not Claude's.", refused="unbounded")
        read, written = prompt.most_input, prompt.max_tokens
        dearest = [self._prices.most(model, input=read, output=written, hour=any_terms, fast=any_terms)
                   for model in prompt.models or ("",)]
        return Reserve(tokens=len(dearest) * (read + written), nanodollars=sum(dearest), is_bound=True)

    def learn(self, caller: Caller, prompt: Prompt, *, usage: Usage) -> None:
        """An answer to the caller's raw prompt took this much."""
        if not prompt.verbatim or not usage.output_tokens:
            return
        past = self._past.setdefault(caller.account, Past())
        self._past.move_to_end(caller.account)
        if len(self._past) > REMEMBERED:
            self._past.popitem(last=False)
        read = usage.total - usage.output_tokens - prompt.media
        past.ratios.append(max(0, read) / max(1, prompt.size))
        past.outputs.append(usage.output_tokens)

    def _expected(self, caller: Caller, prompt: Prompt) -> Reserve:
        past = self._past.get(caller.account)
        ratio, most = FIRST_RATIO, 0
        if past is not None:
            ratio, most = MARGIN * max(past.ratios), max(past.outputs)
            ratio = ratio if len(past.ratios) >= ENOUGH else max(FIRST_RATIO, ratio)
        read = int(prompt.size * ratio) + prompt.media + 1
        written = min(prompt.max_tokens, max(LEAST_OUTPUT, TIMES_OUTPUT * most))
        dearest = max(self._prices.most(model, input=read, output=written) for model in prompt.models)
        return Reserve(tokens=read + written, nanodollars=dearest, is_bound=False)
