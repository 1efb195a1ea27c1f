"""Load: calls one after another on each of many connections, or calls at a fixed rate, whatever becomes of them."""
import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import aiohttp

from aioapp.cli.bench.calls import Call, Target, sampled
from aioapp.cli.bench.statistics import Round, Sample

MOST_SAMPLES = 1_000_000
"""Of one round: it ends when there are so many."""
MOST_OPEN = 10_000
"""Calls of a fixed rate that may be under way at once; whoever would be more is counted as an error."""

Tick = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """With a `rate`, so many calls begin a second, for a server that is too slow gets no fewer callers for that.

    Their time counts from when they were due. Else there are always as many calls as `connections`. It ends after
    `seconds`, or after so many `calls`.
    """

    connections: int
    seconds: float
    rate: float | None = None
    calls: int = MOST_SAMPLES

    async def run(self, call: Call, target: Target, *, tick: Tick) -> Round:
        """`tick` is called when a call has ended."""
        loop = asyncio.get_running_loop()
        limit = self.connections if self.rate is None else 0
        began = loop.time()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=limit)) as http:
            work = closed(self, call, target=target, http=http, tick=tick) if self.rate is None else fixed(
                self, call, target=target, http=http, tick=tick)
            samples = await work
            return Round(samples=samples, seconds=loop.time() - began)


async def closed(load: Load, call: Call, *, target: Target, http: aiohttp.ClientSession, tick: Tick) -> list[Sample]:
    samples: list[Sample] = []
    until, left = asyncio.get_running_loop().time() + load.seconds, [load.calls]

    async def caller() -> None:
        while left[0] > 0 and asyncio.get_running_loop().time() < until:
            left[0] -= 1
            samples.append(await sampled(http, target, call=call))
            tick()

    async with asyncio.TaskGroup() as group:
        for _ in range(load.connections):
            group.create_task(caller())
    return samples


async def fixed(load: Load, call: Call, *, target: Target, http: aiohttp.ClientSession, tick: Tick) -> list[Sample]:
    samples: list[Sample] = []
    loop, rate = asyncio.get_running_loop(), load.rate or 1.0
    began = loop.time()

    async def one(due: float) -> None:
        late = loop.time() - due
        sample = await sampled(http, target, call=call)
        samples.append(replace(sample, first=sample.first + late, whole=sample.whole + late))
        tick()

    running: set[asyncio.Task[None]] = set()
    for number in range(min(load.calls, int(load.seconds * rate))):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
        if len(running) >= MOST_OPEN:
            samples.append(Sample(error="too many calls under way"))
            continue
        task = asyncio.create_task(one(due))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running)
    return samples
