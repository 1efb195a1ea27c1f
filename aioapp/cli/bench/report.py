"""What was measured, for people and for programs."""
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

import aioapp
from aioapp.cli.bench.calls import Transport
from aioapp.cli.bench.measure import Measured, Plan, Show
from aioapp.cli.bench.statistics import POINTS, Spread, spreads

NAMES: Mapping[str, str] = {
    "calls_per_second": "calls a second", "tokens_per_second": "tokens a second", "late_starts": "late starts",
    **{f"{prefix}{kind}_{point}": f"{name}{told}, {point}"
       for prefix, told in (("", ""), ("added_", ", added")) for kind, name in (
           ("first", "first text"), ("whole", "whole answer")) for point in POINTS}}
AT_ONCE = ("first_", "added_first_")
"""Figures that are for programs only where an answer comes at once: the first of its text comes with the last."""
COLUMNS = ("", "figure", "least – middle – most")

Results = Mapping[Transport, Measured]


def as_json(results: Results, plan: Plan) -> str:
    """An object with these keys. Times are in seconds.

    `version` of aioapp that measured, `cores` of its machine, `connections` (null at a fixed rate), `rate` (null
    without one), `seconds` and `rounds`; `transports`: by name, an object for each with
    - `calls_per_second`, `tokens_per_second`, `first_p50`, `first_p95`, `first_p99` (until the first text), `whole_…`
      (until the end), `late_starts` (calls, at a fixed rate), `added_first_…`, `added_whole_…` (beyond a direct call,
      where the server was started here): each `[least, middle, most]` over the rounds, and none where in one of them
      no call succeeded;
    - `errors`: by kind, their `count`, and `first`, what was said about the first of them;
    - `bytes_per_stream`: of the server's memory, null where it is not known.
    """
    transports = {
        name: {**{figure: [found.least, found.middle, found.most]
                  for figure, found in spreads(measured.rounds).items()},
               "errors": {kind: {"count": one.count, "first": one.first} for kind, one in measured.errors.items()},
               "bytes_per_stream": measured.bytes_per_stream}
        for name, measured in results.items()}
    return json.dumps({
        "version": aioapp.__version__, "cores": os.cpu_count(),
        "connections": plan.load.connections if plan.load.rate is None else None, "rate": plan.load.rate,
        "seconds": plan.load.seconds, "rounds": plan.rounds, "transports": transports}, indent=2)


def rows(results: Results) -> Iterator[tuple[str, str, str]]:
    """Of what, which figure, and its least, middle and most over the rounds."""
    for name, measured in results.items():
        for figure, found in spreads(measured.rounds).items():
            if name != "rest" or not figure.startswith(AT_ONCE):
                yield name, NAMES[figure], written(figure, found)
        if measured.bytes_per_stream is not None:
            yield name, "memory of a stream", f"{measured.bytes_per_stream / 1024:.1f} KiB"
        for kind, errors in measured.errors.items():
            yield name, "errors", f"{errors.count} times {kind}" + (f"; first: {errors.first}" if errors.first else "")


def written(figure: str, found: Spread) -> str:
    values = (found.least, found.middle, found.most)
    if figure.endswith(tuple(POINTS)):
        return " – ".join(f"{value * 1e3:.2f}" for value in values) + " ms"
    return " – ".join(f"{value:.0f}" for value in values)


def note(plan: Plan) -> str:
    how = (f"{plan.load.connections} callers, each one call after another" if plan.load.rate is None
           else f"{plan.load.rate:g} calls a second")
    where = (f"Load, server and simulator share this machine, which has {os.cpu_count()} cores." if plan.own
             else f"The load was made by this machine, which has {os.cpu_count()} cores.")
    return f"{how}; rounds: {plan.rounds} of {plan.load.seconds:g} s. {where}"


def print_report(results: Results, plan: Plan, *, to: TextIO) -> None:
    """A table where `rich` is installed (the extra `cli`), else plain lines."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        widths = [max(len(row[column]) for row in (COLUMNS, *rows(results))) for column in range(2)]
        for row in (COLUMNS, *rows(results)):
            print("  ".join((row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2])).strip(), file=to)
        print(note(plan), file=to)
        return
    table, last = Table(*COLUMNS), ""
    for name, *cells in rows(results):
        if last not in ("", name):
            table.add_section()
        table.add_row(*map(Text, ("" if name == last else name, *cells)))  # what a server says is no markup
        last = name
    console = Console(file=to)
    console.print(table)
    console.print(note(plan), highlight=False)


@contextmanager
def progress(plan: Plan, *, to: TextIO) -> Iterator[Show]:
    """What is under way: as a bar on a terminal where `rich` is installed, else as lines."""
    shown: Callable[[str], None] = lambda name: print(f"{name} …", file=to)
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield shown
        return
    if not to.isatty():
        yield shown
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=to), transient=True, refresh_per_second=2) as bar:
        task = bar.add_task("", total=plan.steps, completed=-1)
        yield lambda name: bar.update(task, description=name, advance=1)
