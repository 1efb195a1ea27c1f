"""Keeps callers to their models, limits and budgets: reserves what a call may take, and settles to what it took."""
from collections.abc import AsyncGenerator

from aioapp.generation import Batch, Call, Generate, Layer
from aioapp.limits import Allowance
from aioapp.money import MOST_NANODOLLARS
from aioapp.usage import Prices, Reserves


def budgeted(*, allowance: Allowance, prices: Prices) -> Layer:
    reserves = Reserves(prices)

    def layer(inner: Generate) -> Generate:
        async def generate(call: Call) -> AsyncGenerator[Batch, None]:
            caller, generation, prompt = call.admission.caller, call.generation, call.prompt
            for model in prompt.models:
                caller.check_model(model)
            reserve = reserves.of(caller, prompt)
            reservation = await allowance.reserve(caller, tokens=reserve.tokens, nanodollars=reserve.nanodollars)
            batches = inner(call)
            try:
                try:
                    async for batch in batches:
                        yield batch
                finally:
                    await batches.aclose()
            finally:
                meter, usage = generation.meter, generation.meter.usage
                cost = prices.cost(meter.model or prompt.model or "", usage)
                # Tries that broke are guessed, each by itself; no guess takes a caller beyond a bound.
                most = reserve.nanodollars if meter.is_guess and reserve.is_bound else MOST_NANODOLLARS
                generation.nanodollars = min(cost, most)
                reservation.settle(usage.total, generation.nanodollars)
                reserves.learn(caller, prompt, usage=usage)

        return generate

    return layer
