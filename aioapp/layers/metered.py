"""Counts what Claude takes for a call, for the layers around this one: tokens, and the time that it is waited for."""
import asyncio
from collections.abc import AsyncGenerator
from time import perf_counter

from aioapp.errors import UpstreamSilent
from aioapp.generation import Batch, Call, Generate

BY_US = (asyncio.CancelledError, GeneratorExit, UpstreamSilent)
"""How an answer ends that Claude would have gone on with."""


def metered(inner: Generate) -> Generate:
    async def generate(call: Call) -> AsyncGenerator[Batch, None]:
        meter, began = call.generation.meter, perf_counter()
        meter.ask()
        batches = inner(call)
        try:
            try:
                async for batch in batches:
                    meter.waited += perf_counter() - began
                    meter.see(batch)
                    yield batch
                    began = perf_counter()
            finally:
                await batches.aclose()
            meter.waited += perf_counter() - began
            # Where a relayed answer ended in the middle: else nothing is uncounted.
            meter.cut(call.prompt, live=call.live, by_us=False)
        except BaseException as error:
            meter.cut(call.prompt, live=call.live, by_us=isinstance(error, BY_US))
            raise

    return generate
