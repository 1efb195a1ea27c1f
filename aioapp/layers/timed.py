"""Holds a call to its deadline."""
import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aioapp.errors import UpstreamTimeout
from aioapp.generation import Batch, Call, Generate


def timed(inner: Generate) -> Generate:
    async def generate(call: Call) -> AsyncGenerator[Batch, None]:
        async with aclosing(inner(call)) as batches:
            while (batch := await next_before(call.deadline, batches)) is not None:
                yield batch

    return generate


async def next_before(deadline: float, batches: AsyncGenerator[Batch, None]) -> Batch | None:
    """The next batch, or None at the end. Raises `UpstreamTimeout` where neither comes before `deadline`."""
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(batches, None)
    except TimeoutError:
        raise UpstreamTimeout() from None
