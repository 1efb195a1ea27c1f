"""Keeps callers to their limits and budgets: reserves what a call may take at most, and settles to what it took."""
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aioapp.callers import Caller
from aioapp.errors import AppError
from aioapp.generation import Batch, Call, Generate, Layer
from aioapp.store.embedded.allowance import Limiter, Reservation
from aioapp.store.embedded.board.purse import Stale
from aioapp.usage import Ledger, Prices, most_tokens

LOOKS = 5
"""How often the database is read anew for one call. Once does, but where others write for the same key meanwhile."""


def budgeted(*, limiter: Limiter, ledger: Ledger, prices: Prices) -> Layer:
    def layer(inner: Generate) -> Generate:
        async def generate(call: Call) -> AsyncGenerator[Batch, None]:
            read, written = most_tokens(call.prompt)
            most = prices.most(call.prompt.model or "", input=read, output=written)
            try:
                reservation = await reserved(
                    call.caller, read + written, nanodollars=most, limiter=limiter, ledger=ledger)
            except AppError:
                limiter.refund(call.caller, call.admitted)
                raise
            try:
                async with aclosing(inner(call)) as batches:
                    async for batch in batches:
                        yield batch
            finally:
                reservation.settle(call.meter.usage.total)

        return generate

    return layer


async def reserved(
        caller: Caller, tokens: int, *, nanodollars: int, limiter: Limiter, ledger: Ledger) -> Reservation:
    """All that a call may take, or nothing: whoever refuses it, it costs nothing elsewhere.

    It waits only where what is known of the budget is too old, and the database must be read.
    """
    for _ in range(LOOKS):
        known = ledger.known(caller)
        try:
            return limiter.reserve(caller, tokens, nanodollars=nanodollars, spent=known)
        except Stale:
            await ledger.refresh(unlike=known)
    return limiter.reserve(caller, tokens, nanodollars=nanodollars, spent=ledger.known(caller))
