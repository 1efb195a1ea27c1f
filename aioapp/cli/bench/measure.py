"""What is measured, in which order: in each round every transport has its turn, so that none has better weather."""
import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import aiohttp

from aioapp.cli.bench.calls import CALLS, Target, Transport, direct, rest, sampled, sse
from aioapp.cli.bench.load import Load, Tick
from aioapp.cli.bench.servers import Started
from aioapp.cli.bench.statistics import Round, percentile

WARM_UP = 0.5
"""Seconds of load before the first round, which count for nothing."""
PAIRS = 200
"""Calls one after another, made direct and by the server in turns, for the time that the server adds."""
STREAMS = 200
"""That are open at once, for the memory that one takes."""
SETTLED = 1.0
"""Seconds until all of them are under way."""
SLOW = "simulate-slow"
"""The simulator's model whose first token takes half a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    load: Load
    rounds: int
    transports: Sequence[Transport]

    @property
    def seconds(self) -> float:
        """How long it will take, about."""
        return len(self.transports) * (WARM_UP + self.rounds * self.load.seconds)


@dataclass(slots=True, kw_only=True)
class Measured:
    """`added` are seconds by percentile, `memory` bytes a stream; None where they cannot be had."""

    rounds: Mapping[Transport, list[Round]]
    added: Mapping[str, float] | None = None
    memory: float | None = None
    failures: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.failures = sum(sum(one.errors.values()) for rounds in self.rounds.values() for one in rounds)


async def measure(plan: Plan, target: Target, *, own: Started | None, show: Callable[[str], Tick]) -> Measured:
    """`show` is told what is measured next, and gives what is to be called with each call that ends."""
    if plan.load.rate is None and own is not None:
        for transport in plan.transports:
            await replace(plan.load, seconds=WARM_UP).run(CALLS[transport], target, tick=show(f"{transport}, warm-up"))
    rounds: dict[Transport, list[Round]] = {transport: [] for transport in plan.transports}
    for number in range(1, plan.rounds + 1):
        for transport in plan.transports:
            tick = show(f"{transport}, round {number} of {plan.rounds}")
            rounds[transport].append(await plan.load.run(CALLS[transport], target, tick=tick))
    if own is None:
        return Measured(rounds=rounds)
    return Measured(rounds=rounds, added=await added(target, own, tick=show("added time")),
                    memory=await memory(target, own, show=show))


async def added(target: Target, own: Started, *, tick: Tick) -> dict[str, float] | None:
    """What a call by the server takes beyond the same call made direct, at each percentile."""
    simulator = replace(target, url=own.upstream, key=None)
    ours: list[float] = []
    theirs: list[float] = []
    async with aiohttp.ClientSession() as http:
        for _ in range(PAIRS):
            for call, where, times in ((direct, simulator, theirs), (rest, target, ours)):
                sample = await sampled(http, where, call=call)
                if sample.error is None:
                    times.append(sample.whole)
                tick()
    if not (ours and theirs):
        return None
    return {name: percentile(ours, share) - percentile(theirs, share) for name, share in (("p50", 50), ("p99", 99))}


async def memory(target: Target, own: Started, *, show: Callable[[str], Tick]) -> float | None:
    """Bytes of the server's memory that a stream takes which waits for its first text."""
    show("memory of a stream")
    before = own.memory()
    waiting = replace(target, model=SLOW)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        tasks = [asyncio.create_task(sampled(http, waiting, call=sse)) for _ in range(STREAMS)]
        await asyncio.sleep(SETTLED)
        after = own.memory()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return None if before is None or after is None else max(0.0, (after - before) / STREAMS)
