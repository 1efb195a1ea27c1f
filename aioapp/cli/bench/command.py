"""The command line for measurements: `aioapp bench`."""
import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from urllib.parse import urlsplit

from aioapp.cli.bench.calls import TRANSPORTS
from aioapp.cli.bench.connections import Target
from aioapp.cli.bench.load import MOST_AT_ONCE, MOST_SAMPLES, Load
from aioapp.cli.bench.measure import Plan, measure
from aioapp.cli.bench.permission import estimate, simulates
from aioapp.cli.bench.report import Results, as_json, print_report, progress
from aioapp.cli.bench.servers import NotStarted, started
from aioapp.cli.serve import loop_factory, raise_file_limit
from aioapp.messages.prompt import TextPrompt, Turn

PROMPT = "Explain async programming in Python"
LIVE_CALLS = 20
"""Of each transport and round, where each call costs."""
MOST = 10**6
FAILED, UNUSABLE = 1, 2
ENDED_BY_SIGNAL = 128
"""And the signal's number, as a shell has it."""

Asked = argparse.Namespace


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Measure what `argv` asks for. Returns the exit status: 1 for calls that failed, 2 for what cannot be used."""
    try:
        asked = parser().parse_args(argv)
    except SystemExit as end:  # it has told why
        return UNUSABLE if end.code else 0
    raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            results = runner.run(ended_by_sigterm(asked, environ.get("API_KEY", "").strip() or None))
    except (NotStarted, ValueError) as error:
        print(f"aioapp: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return ENDED_BY_SIGNAL + signal.SIGINT
    except asyncio.CancelledError:
        return ENDED_BY_SIGNAL + signal.SIGTERM
    return FAILED if any(measured.errors for measured in results.values()) else 0


async def ended_by_sigterm(asked: Asked, key: str | None) -> Results:
    """As Ctrl+C ends it: the servers that were started end too, which they would not if we were just gone."""
    task = asyncio.current_task()
    assert task is not None
    try:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    except (NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
        pass
    return await bench(asked, key=asked.key or key)


async def bench(asked: Asked, *, key: str | None) -> Results:
    """Raises `NotStarted`, and `ValueError` for what must not be measured like this."""
    load = Load(connections=asked.connections, seconds=asked.seconds, rate=asked.rate)
    plan = Plan(rounds=asked.rounds, transports=list(dict.fromkeys(asked.transport or TRANSPORTS)), load=load,
                own=asked.url is None, keyless=asked.keyless)
    target = Target(url=checked(asked.url), key=key, prompt=TextPrompt(
        messages=(Turn("user", asked.prompt),), max_tokens=asked.max_tokens, model=asked.model))
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(started(keyless=asked.keyless)) if plan.own else None
        if own is not None:
            target = replace(target, url=own.url, key=own.key)
        elif not await simulates(target):
            plan = replace(plan, costs=True, load=replace(load, calls=asked.calls))
            allow(plan, target, live=asked.live)
        show = stack.enter_context(progress(plan, to=sys.stderr))
        results = await measure(plan, target, own=own, show=show)
    if asked.json:
        print(as_json(results, plan))
    else:
        print_report(results, plan, to=sys.stdout)
    return results


def allow(plan: Plan, target: Target, *, live: bool) -> None:
    """Tell what a real Claude would cost. Raises `ValueError` unless that is wanted."""
    cost = estimate(plan, target)
    if not live:
        raise ValueError(f"{target.url} does not say that it simulates, so a real Claude may answer and cost: {cost}. "
                         "Say --live if that is what you want")
    print(f"aioapp: {cost}", file=sys.stderr)


def checked(url: str | None) -> str:
    """Less what would stand before a path; empty where there is none. Raises `ValueError`."""
    if url is None:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("--url takes a URL such as http://127.0.0.1:8000")
    return url.rstrip("/")


def parser() -> argparse.ArgumentParser:
    """Without a usage, which argparse would put before its one line on what is wrong."""
    made = argparse.ArgumentParser(
        prog="aioapp bench", usage=argparse.SUPPRESS, allow_abbrev=False,
        description="Measure a server: without --url, one that is started here, with the simulator behind it.")
    made.add_argument("--url", metavar="URL", help="a server that runs")
    made.add_argument("--key", metavar="KEY",
                      help="to call that server with; everybody on this machine sees a flag, so better [API_KEY]")
    made.add_argument("--live", action="store_true", help="measure it although a real Claude may answer, which costs")
    made.add_argument("--calls", metavar="N", type=number(int), default=LIVE_CALLS,
                      help=f"most calls of a transport in a round, where each may cost [{LIVE_CALLS}]")
    made.add_argument("--keyless", action="store_true", help="call the server that is started here without a key")
    made.add_argument("--transport", choices=TRANSPORTS, action="append", help="may be given more than once [all]")
    made.add_argument("--connections", metavar="N", type=number(int, most=MOST_AT_ONCE), default=16,
                      help="callers, each of which makes one call after another [16]")
    made.add_argument("--rate", metavar="N", type=number(float), help="calls a second instead, however many wait")
    made.add_argument("--seconds", metavar="S", type=number(float), default=3.0,
                      help=f"of a transport in a round, which also ends with its call {MOST_SAMPLES} [3]")
    made.add_argument("--rounds", metavar="N", type=number(int, most=1000), default=3, help="[3]")
    made.add_argument("--prompt", metavar="TEXT", default=PROMPT, help="what is asked")
    made.add_argument("--model", metavar="ID", help="which model is asked [the server's own]")
    made.add_argument("--max-tokens", metavar="N", type=number(int), default=200, help="most of an answer [200]")
    made.add_argument("--json", action="store_true", help="for programs")
    return made


def number(kind: Callable[[str], float], *, most: int = MOST) -> Callable[[str], float]:
    """Reads a number above 0 and up to `most`."""
    def read(text: str) -> float:
        try:
            if 0 < (value := kind(text)) <= most:
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!a} is not a number above 0, up to {most}")

    return read
