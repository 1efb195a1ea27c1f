"""The command line for measurements: `aioapp bench`."""
import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from urllib.parse import urlsplit

import aiohttp

from aioapp.cli.bench.calls import TRANSPORTS, Target
from aioapp.cli.bench.load import MOST_SAMPLES, Load
from aioapp.cli.bench.measure import Measured, Plan, measure
from aioapp.cli.bench.report import as_json, print_report, progress
from aioapp.cli.bench.servers import NotStarted, started
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.money import NANO
from aioapp.usage import DEFAULT_PRICES

PROMPT = "Explain async programming in Python"
LIVE_CALLS = 20
"""Of each transport and round, where each call costs."""
FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Measure what `argv` asks for. Returns the exit status: 1 for calls that failed, 2 for what cannot be used."""
    try:
        asked = parser().parse_args(argv)
    except SystemExit as end:  # it has told why
        return UNUSABLE if end.code else 0
    try:
        measured = asyncio.run(bench(asked, key=asked.key or environ.get("API_KEY", "").strip() or None))
    except (NotStarted, ValueError) as error:
        print(f"aioapp: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    return FAILED if measured.failures else 0


async def bench(asked: argparse.Namespace, *, key: str | None) -> Measured:
    """Raises `NotStarted`, and `ValueError` for what must not be measured like this."""
    plan = Plan(rounds=asked.rounds, transports=asked.transport or TRANSPORTS,
                load=Load(connections=asked.connections, seconds=asked.seconds, rate=asked.rate, calls=MOST_SAMPLES))
    async with AsyncExitStack() as stack:
        if asked.url is None:
            own = await stack.enter_async_context(started(keyless=asked.keyless))
            target = Target(url=own.url, prompt=asked.prompt, max_tokens=asked.max_tokens, key=own.key)
        else:
            own, url = None, checked(asked.url)
            target = Target(url=url, prompt=asked.prompt, max_tokens=asked.max_tokens, key=key)
            if not await simulates(target):
                plan = replace(plan, load=replace(plan.load, calls=asked.calls))
                allow(plan, target, live=asked.live)
        with progress(plan, to=sys.stderr) as show:
            measured = await measure(plan, target, own=own, show=show)
    if asked.json:
        print(as_json(measured))
    else:
        print_report(measured, plan, to=sys.stdout)
    return measured


async def simulates(target: Target) -> bool:
    """Whether the server says that a simulator stands in for Claude. One that cannot be asked may be a real one."""
    try:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{target.url}/auth-status", headers=target.headers) as response:
                said = await response.json()
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ValueError(f"{target.url} does not answer as aioapp does: {type(error).__name__}") from None
    if response.status != 200:
        raise ValueError(f"{target.url} answers {response.status}: {said.get('error')}")
    return bool(said["status"]["source"] == "simulator")


def allow(plan: Plan, target: Target, *, live: bool) -> None:
    """Tell what a real Claude would cost. Raises `ValueError` unless that is wanted."""
    calls = plan.rounds * len(plan.transports) * plan.load.calls
    asked = TextPrompt(messages=(Turn("user", target.prompt),), max_tokens=target.max_tokens)
    dearest = DEFAULT_PRICES.most("", input=asked.most_input, output=target.max_tokens)
    cost = f"up to {calls} calls, and at most ${calls * dearest / NANO:.2f} at the dearest model's price"
    if not live:
        raise ValueError(f"{target.url} asks a real Claude: this would be {cost}. Say --live if that is what you want")
    print(f"aioapp: {cost}", file=sys.stderr)


def checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("--url: a URL such as http://127.0.0.1:8000")
    return url.rstrip("/")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="aioapp bench", usage=argparse.SUPPRESS, allow_abbrev=False,
        description="Measure a server: without --url, one that is started here, with the simulator behind it.")
    made.add_argument("--url", metavar="URL", help="a server that runs")
    made.add_argument("--key", metavar="KEY", help="the key to call it with; better in API_KEY, for others see flags")
    made.add_argument("--live", action="store_true", help="although it asks a real Claude, which costs")
    made.add_argument("--calls", metavar="N", type=positive(int), default=LIVE_CALLS,
                      help=f"calls of each round, where each costs [{LIVE_CALLS}]")
    made.add_argument("--keyless", action="store_true", help="call the server that is started here without a key")
    made.add_argument("--transport", choices=TRANSPORTS, action="append", help="may be given more than once [all]")
    made.add_argument("--connections", metavar="N", type=positive(int), default=16, help="callers at once [16]")
    made.add_argument("--rate", metavar="N", type=positive(float), help="calls a second, however many wait")
    made.add_argument("--seconds", metavar="S", type=positive(float), default=3.0, help="of each round [3]")
    made.add_argument("--rounds", metavar="N", type=positive(int), default=3, help="[3]")
    made.add_argument("--prompt", default=PROMPT, help="what is asked")
    made.add_argument("--max-tokens", metavar="N", type=positive(int), default=200, help="of each answer [200]")
    made.add_argument("--json", action="store_true", help="for programs")
    return made


def positive(kind: type[int] | type[float]) -> "type[int] | type[float]":
    def read(text: str) -> int | float:
        try:
            if 0 < (value := kind(text)) < 10**6:
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!a} is not a number above 0 and below a million")

    return read  # type: ignore[return-value]
