"""What was measured, for people and for programs."""
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TextIO

from aioapp.cli.bench.load import Tick
from aioapp.cli.bench.measure import Measured, Plan
from aioapp.cli.bench.statistics import Spread, spreads

FIGURES = {
    "calls_per_second": ("calls a second", 1.0, "{:.0f}"),
    "tokens_per_second": ("tokens a second", 1.0, "{:.0f}"),
    **{f"{kind}_{point}": (f"{name}, {point}", 1e3, "{:.2f} ms")
       for kind, name in (("first", "first text"), ("whole", "whole answer")) for point in ("p50", "p95", "p99")},
}
"""What each figure is called, what it is multiplied by, and how it is written."""
Show = Callable[[str], Tick]


def as_json(measured: Measured) -> str:
    """Seconds, bytes and counts a second; each figure as its least, its middle and its most over the rounds."""
    transports = {
        name: {**{figure: [found.least, found.middle, found.most] for figure, found in spreads(rounds).items()},
               "errors": dict(sum((one.errors for one in rounds[1:]), rounds[0].errors))}
        for name, rounds in measured.rounds.items()}
    return json.dumps({"cores": os.cpu_count(), "transports": transports, "added_seconds": measured.added,
                       "bytes_per_stream": measured.memory}, indent=2)


def rows(measured: Measured) -> Iterator[tuple[str, str, str]]:
    """Of what, which figure, and its least, middle and most over the rounds."""
    for name, rounds in measured.rounds.items():
        for figure, found in spreads(rounds).items():
            yield name, FIGURES[figure][0], written(figure, found)
        for error, count in sum((one.errors for one in rounds[1:]), rounds[0].errors).most_common():
            yield name, "errors", f"{count} times {error}"
    for point, seconds in (measured.added or {}).items():
        yield "rest", f"added to a direct call, {point}", f"{seconds * 1e3:.2f} ms"
    if measured.memory is not None:
        yield "sse", "memory of a stream", f"{measured.memory / 1024:.1f} KiB"


def written(figure: str, found: Spread) -> str:
    _, factor, form = FIGURES[figure]
    return " – ".join(form.format(value * factor) for value in (found.least, found.middle, found.most))


def note(plan: Plan) -> str:
    how = (f"{plan.load.connections} callers, each one call after another" if plan.load.rate is None
           else f"{plan.load.rate:g} calls a second")
    return (f"{how}; {plan.rounds} rounds of {plan.load.seconds:g} s, as least – middle – most. "
            f"Load and server share this machine's {os.cpu_count()} cores.")


def print_report(measured: Measured, plan: Plan, *, to: TextIO) -> None:
    """A table where `rich` is installed (the extra `cli`), else plain lines."""
    if find_spec("rich") is None:
        for row in rows(measured):
            print("  ".join((row[0].ljust(10), row[1].ljust(28), row[2])), file=to)
        print(note(plan), file=to)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("", "figure", "least – middle – most", caption=note(plan))
    for row in rows(measured):
        table.add_row(*row)
    Console(file=to).print(table)


@contextmanager
def progress(plan: Plan, *, to: TextIO) -> Iterator[Show]:
    """What is under way, as a bar on a terminal, as lines elsewhere."""
    if find_spec("rich") is None or not to.isatty():
        yield lambda name: told(name, to=to)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} calls"),
                  TimeElapsedColumn(), console=Console(file=to), transient=True) as bar:
        task: Any = bar.add_task("", total=None)

        def show(name: str) -> Tick:
            bar.update(task, description=name)
            return lambda: bar.advance(task)

        yield show


def told(name: str, *, to: TextIO) -> Tick:
    print(f"{name} …", file=to)
    return lambda: None
