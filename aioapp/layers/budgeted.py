"""Keeps callers to their models, limits and budgets: reserves what a call may take, and settles to what it took."""
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aioapp.errors import Forbidden
from aioapp.generation import Batch, Call, Generate, Layer
from aioapp.limits import Allowance
from aioapp.money import MOST_NANODOLLARS
from aioapp.usage import Prices


def budgeted(*, allowance: Allowance, prices: Prices) -> Layer:
    def layer(inner: Generate) -> Generate:
        async def generate(call: Call) -> AsyncGenerator[Batch, None]:
            caller, generation, model = call.admission.caller, call.generation, call.prompt.model or ""
            if not caller.may_use(model):
                raise Forbidden(f"Your key may not use the model {model}. It may use: {', '.join(caller.models)}.")
            read, written = call.prompt.most_input, call.prompt.max_tokens
            most = prices.most(model, input=read, output=written)
            reservation = await allowance.reserve(caller, tokens=read + written, nanodollars=most)
            try:
                async with aclosing(inner(call)) as batches:
                    async for batch in batches:
                        yield batch
            finally:
                usage = generation.meter.usage
                cost = prices.cost(generation.meter.model or model, usage)
                # Tries that broke are guessed, each by itself; no guess takes a caller beyond what was set aside.
                generation.nanodollars = min(cost, most if generation.meter.is_guess else MOST_NANODOLLARS)
                reservation.settle(usage.total, generation.nanodollars)

        return generate

    return layer
