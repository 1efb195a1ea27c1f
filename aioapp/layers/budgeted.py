"""Keeps callers to their limits and budgets: reserves what a call may take at most, and settles to what it took."""
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aioapp.errors import AppError
from aioapp.generation import Batch, Call, Generate, Layer
from aioapp.limits import Limiter, Reservation
from aioapp.usage import Hold, Ledger, Prices, most_tokens


def budgeted(*, limiter: Limiter, ledger: Ledger, prices: Prices) -> Layer:
    def layer(inner: Generate) -> Generate:
        async def generate(call: Call) -> AsyncGenerator[Batch, None]:
            hold, reservation = reserved(call, limiter=limiter, ledger=ledger, prices=prices)
            try:
                async with aclosing(inner(call)) as batches:
                    async for batch in batches:
                        yield batch
            finally:
                reservation.settle(call.meter.usage.total)
                hold.release()

        return generate

    return layer


def reserved(call: Call, *, limiter: Limiter, ledger: Ledger, prices: Prices) -> tuple[Hold, Reservation]:
    """All that the call may take, or nothing: whoever refuses it, it costs nothing elsewhere."""
    read, written = most_tokens(call.prompt)
    try:
        hold = ledger.hold(call.client, prices.most(call.prompt.model or "", input=read, output=written))
        try:
            return hold, limiter.reserve(call.client, read + written)
        except AppError:
            hold.release()
            raise
    except AppError:
        limiter.refund(call.client, call.admitted)
        raise
