"""Limits and budgets of one machine: the limiter's turns, in which nobody is waited for on the event loop."""
from functools import partial

from aioapp.callers import Caller, Spent
from aioapp.errors import StoreUnavailable
from aioapp.limits import Remaining
from aioapp.store.embedded.board.purse import Stale
from aioapp.store.embedded.board.turns import Busy
from aioapp.store.embedded.limiter import Limiter, Reservation, check_fits, patiently
from aioapp.store.embedded.usage import EmbeddedUsage

LOOKS = 5
"""How often the database is read anew for one call. Once does, but where others write for the same key meanwhile."""


class EmbeddedAllowance:
    """An `Allowance`. It awaits only where another process has its turn, or the database must be read."""

    def __init__(self, limiter: Limiter, usage: EmbeddedUsage) -> None:
        self._limiter = limiter
        self._usage = usage

    async def admit(self, caller: Caller) -> int:
        try:
            return self._limiter.admit(caller)
        except Busy:
            return await patiently(partial(self._limiter.admit, caller), self._limiter)

    def refund(self, caller: Caller, counted: int) -> None:
        self._limiter.refund(caller, counted)

    async def reserve(self, caller: Caller, *, tokens: int, nanodollars: int) -> Reservation:
        for _ in range(LOOKS):
            try:
                known = self._usage.known(caller)
            except StoreUnavailable:
                check_fits(caller, tokens=tokens, nanodollars=nanodollars)  # that waiting will not help comes first
                raise
            try:
                return await self._reserve(caller, tokens=tokens, nanodollars=nanodollars, spent=known)
            except Stale:
                await self._usage.refresh(unlike=known)
        return await self._reserve(caller, tokens=tokens, nanodollars=nanodollars, spent=self._usage.known(caller))

    async def remaining(self, caller: Caller) -> Remaining:
        try:
            return self._limiter.remaining(caller)
        except Busy:
            return await patiently(partial(self._limiter.remaining, caller), self._limiter)

    async def _reserve(self, caller: Caller, *, tokens: int, nanodollars: int, spent: Spent | None) -> Reservation:
        try:
            return self._limiter.reserve(caller, tokens, nanodollars=nanodollars, spent=spent)
        except Busy:
            work = partial(self._limiter.reserve, caller, tokens, nanodollars=nanodollars, spent=spent)
            return await patiently(work, self._limiter)
