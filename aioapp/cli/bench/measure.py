"""What is measured, in which order: in each round every transport has its turn, so that none has better weather."""
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from time import perf_counter

from aioapp.cli.bench.calls import CALLS, DIRECT, Transport
from aioapp.cli.bench.connections import Target, connected
from aioapp.cli.bench.held import bytes_per_stream
from aioapp.cli.bench.load import Load, sampled
from aioapp.cli.bench.replies import CallFailed
from aioapp.cli.bench.servers import Started
from aioapp.cli.bench.statistics import Errors, Round, Tally, merged
from aioapp.settings import Settings

WARM_UP = 0.5
"""Seconds of load on each transport before the first round, which count for nothing."""
PAIRS = 100
"""Calls of a round, one after another, made direct and by the server in turns, for the time that the server adds."""
STREAMED: Sequence[Transport] = ("sse", "websocket")

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`costs` says that a real Claude is asked: then nothing is that does not count. `own` says that the server is
    started here."""

    load: Load
    rounds: int
    transports: Sequence[Transport]
    own: bool
    keyless: bool = False
    costs: bool = False

    @property
    def steps(self) -> int:
        """How often it is shown what is measured next."""
        held = sum(transport in STREAMED for transport in self.transports) if self.own else 0
        return len(self.transports) * (self.rounds + (not self.costs)) + held

    @property
    def calls(self) -> int:
        """The most that it makes."""
        return self.load.calls * self.rounds * len(self.transports)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of one transport. `bytes_per_stream` is None where it cannot be had."""

    rounds: Sequence[Round]
    errors: Mapping[str, Errors]
    bytes_per_stream: float | None = None


async def measure(plan: Plan, target: Target, *, own: Started | None, show: Show) -> dict[Transport, Measured]:
    """`show` is told what is measured next. Raises `NotStarted`."""
    warm_up = replace(plan.load, rate=None, seconds=WARM_UP)
    for transport in () if plan.costs else plan.transports:
        show(f"{transport}, warm-up")
        await warm_up.run(CALLS[transport], target)
    rounds: dict[Transport, list[Round]] = {transport: [] for transport in plan.transports}
    for number in range(1, plan.rounds + 1):
        for transport in plan.transports:
            show(f"{transport}, round {number} of {plan.rounds}")
            rounds[transport].append(await one_round(plan, target, own=own, transport=transport))
    return {transport: await completed(plan, rounds[transport], transport=transport, show=show)
            for transport in plan.transports}


async def one_round(plan: Plan, target: Target, *, own: Started | None, transport: Transport) -> Round:
    loaded = await plan.load.run(CALLS[transport], target)
    if own is None:
        return loaded
    paired = await added(target, own, transport=transport, seconds=plan.load.seconds)
    return Round(figures={**loaded.figures, **paired.figures}, errors=merged([loaded.errors, paired.errors]))


async def added(target: Target, own: Started, *, transport: Transport, seconds: float) -> Round:
    """What a call takes longer than the same call made direct: each percentile of the one less that of the other.

    Both are made in turns, nothing else is under way, and the first pair, which connects, does not count.
    """
    prompt, _ = target.prompt.fitted(target.prompt.model or Settings().model)
    ours, theirs, direct = Tally(), Tally(), replace(target, url=own.upstream, key=None, prompt=prompt)
    until = perf_counter() + seconds
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(connected()) for _ in range(2)]
        for number in range(PAIRS + 1):
            samples = [await sampled(there, direct, DIRECT[transport], perf_counter()),
                       await sampled(here, target, CALLS[transport], perf_counter())]
            if number:
                theirs.add(samples[0])
                ours.add(samples[1])
            if number and perf_counter() > until:
                break
    slower, faster = ours.round(1.0), theirs.round(1.0)
    times = [name for name in slower.figures if name.startswith(("first_", "whole_")) and name in faster.figures]
    return Round(figures={f"added_{name}": slower.figures[name] - faster.figures[name] for name in times},
                 errors=merged([slower.errors, faster.errors]))


async def completed(plan: Plan, rounds: Sequence[Round], *, transport: Transport, show: Show) -> Measured:
    """All rounds of one transport, and the memory of a stream, which a server of its own is started for."""
    errors, memory = merged(one.errors for one in rounds), None
    if plan.own and transport in STREAMED:
        show(f"{transport}, memory of a stream")
        try:
            memory = await bytes_per_stream(CALLS[transport], keyless=plan.keyless)
        except CallFailed as failure:
            errors = merged([errors, {failure.kind: Errors(1, failure.detail)}])
    return Measured(rounds=rounds, errors=errors, bytes_per_stream=memory)
