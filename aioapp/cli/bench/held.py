"""Streams that are held open, and the memory that one of them takes."""
import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import aiohttp

from aioapp.cli.bench.calls import Call, Moments
from aioapp.cli.bench.connections import Target, connected
from aioapp.cli.bench.load import TIMEOUT, failed
from aioapp.cli.bench.replies import CallFailed
from aioapp.cli.bench.servers import started
from aioapp.cli.bench.statistics import Sample
from aioapp.messages.prompt import TextPrompt, Turn

STREAMS = 200
"""That are open at once."""
WARM_UP = 20
"""That are opened and ended before, so that what is loaded with the first ones is not taken for theirs."""
PACE = 5.0
"""Of the simulator: 10 tokens a second, the first after 1.5 s."""
LONG = TextPrompt(messages=(Turn("user", "Count to 300"),), max_tokens=1000)
"""What is asked: the answer takes a minute, so that all are under way together."""


async def bytes_per_stream(call: Call, *, keyless: bool) -> float | None:
    """What the resident set of a server grew by, divided by the streams that were opened and got their first text.

    The server is one that has served nothing yet: what it once needed for others, it would use again. None where the
    system does not tell. Raises `NotStarted`, and `CallFailed` where a stream failed.
    """
    async with started(keyless=keyless, pace=PACE) as own:
        target = Target(url=own.url, key=own.key, prompt=LONG)
        async with held(call, target, count=WARM_UP):
            pass
        before = own.memory()
        async with held(call, target, count=STREAMS):
            after = own.memory()
    return None if before is None or after is None else max(0.0, (after - before) / STREAMS)


@asynccontextmanager
async def held(call: Call, target: Target, *, count: int) -> AsyncIterator[None]:
    """Have so many calls under way, each past its first text. Raises `CallFailed`."""
    failures: list[Sample] = []

    async def begin(moments: Moments) -> None:
        try:
            await anext(moments, None)
        except (CallFailed, aiohttp.ClientError, OSError) as error:
            failures.append(failed(error))

    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(connected())
        calls = [await stack.enter_async_context(aclosing(call(connections, target))) for _ in range(count)]
        try:
            async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
                for moments in calls:
                    group.create_task(begin(moments))
        except TimeoutError as error:
            failures.append(failed(error))
        if failures:
            raise CallFailed(f"{len(failures)} of {count} streams not held open", f"{failures[0].error}")
        yield
