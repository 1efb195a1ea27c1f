"""Load: calls one after another from each of many callers, or calls at a fixed rate, whatever becomes of them."""
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import aiohttp

from aioapp.cli.bench.calls import Call, Finished, FirstText
from aioapp.cli.bench.connections import Connections, Target, connected
from aioapp.cli.bench.replies import CallFailed
from aioapp.cli.bench.statistics import Round, Sample, Tally

MOST_SAMPLES = 1_000_000
"""Of one round: it ends when there are so many, if before its time. None is dropped, so percentiles stay exact."""
MOST_AT_ONCE = 10_000
"""Calls under way. Of a fixed rate, each that would be one more is counted as an error."""
LATE = 0.01
"""Seconds after which a call that was due is a late start: the load, or the machine that it runs on, was busy."""
TIMEOUT = 60.0
"""Seconds for one call."""

Caller = Callable[[float], Awaitable[Sample]]
"""Makes one call, whose times count from the moment that is given, in seconds of `perf_counter`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """With a `rate`, so many calls begin a second: a server that is too slow gets no fewer of them for that, and their
    times count from when they were due, else what they waited for would be left out ("coordinated omission",
    https://github.com/giltene/wrk2). Without, there are always as many calls under way as `connections`.

    Calls begin for `seconds`, or until there are `calls`; those under way then end in their own time.
    """

    connections: int
    seconds: float
    rate: float | None = None
    calls: int = MOST_SAMPLES

    async def run(self, call: Call, target: Target) -> Round:
        tally, began = Tally(), perf_counter()
        async with connected() as connections:
            caller = partial(sampled, connections, target, call)
            await (closed_loop if self.rate is None else open_loop)(self, caller, tally=tally)
            return tally.round(perf_counter() - began)


async def closed_loop(load: Load, call: Caller, *, tally: Tally) -> None:
    until, numbers = perf_counter() + load.seconds, iter(range(load.calls))

    async def caller() -> None:
        while (now := perf_counter()) < until and next(numbers, None) is not None:
            tally.add(await call(now))

    async with asyncio.TaskGroup() as group:
        for _ in range(load.connections):
            group.create_task(caller())


async def open_loop(load: Load, call: Caller, *, tally: Tally) -> None:
    rate, began = load.rate or 1.0, perf_counter()
    under_way = tally.late = 0

    async def one(due: float) -> None:
        nonlocal under_way
        tally.late = (tally.late or 0) + (perf_counter() - due > LATE)
        tally.add(await call(due))
        under_way -= 1

    async with asyncio.TaskGroup() as group:
        for number in range(min(load.calls, round(load.seconds * rate))):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - perf_counter()))
            if under_way >= MOST_AT_ONCE:
                tally.add(Sample(error="too many calls under way", detail=f"{under_way} of them"))
                continue
            under_way += 1
            group.create_task(one(due))


async def sampled(connections: Connections, target: Target, call: Call, /, since: float) -> Sample:
    """What came of the call, however it ended. Its times count from `since`."""
    first: float | None = None
    whole, tokens = 0.0, 0
    try:
        async with asyncio.timeout(TIMEOUT), aclosing(call(connections, target)) as moments:
            async for moment in moments:
                match moment:
                    case FirstText():
                        first = perf_counter() - since
                    case Finished(tokens):
                        whole = perf_counter() - since
    except (CallFailed, aiohttp.ClientError, OSError) as error:
        return failed(error)
    return Sample(first=whole if first is None else first, whole=whole, tokens=tokens)


def failed(error: Exception) -> Sample:
    match error:
        case CallFailed(kind=kind, detail=detail):
            return Sample(error=kind, detail=detail)
        case TimeoutError():
            return Sample(error=f"no answer in {TIMEOUT:g} s")
    return Sample(error=type(error).__name__, detail=str(error))
