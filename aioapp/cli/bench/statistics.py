"""What was measured, in a few numbers. Times are in seconds."""
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

POINTS = {"p50": 50, "p95": 95, "p99": 99}
MOST_KINDS = 20
"""Of errors that are told apart in a round: a server may word each of them anew."""
OTHERS = "errors of further kinds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One call: when its first text and its end came, and the tokens of its answer; or the kind of error it ended with,
    and what was said about it."""

    first: float = 0.0
    whole: float = 0.0
    tokens: int = 0
    error: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one kind: how many, and what was said about the first."""

    count: int
    first: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """All calls of one transport in one round: figures by name, and errors by kind."""

    figures: Mapping[str, float]
    errors: Mapping[str, Errors]


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts the calls of a round. Of each that succeeded it keeps two numbers of 8 bytes, so percentiles are exact.
    How many there may be is for the load to bound.

    `late` counts calls that began later than they were due; None where none was due at any time.
    """

    firsts: "array[float]" = field(default_factory=lambda: array("d"))
    wholes: "array[float]" = field(default_factory=lambda: array("d"))
    tokens: int = 0
    late: int | None = None
    errors: dict[str, Errors] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        if sample.error is not None:
            kind = sample.error if sample.error in self.errors or len(self.errors) < MOST_KINDS else OTHERS
            self.errors = merged([self.errors, {kind: Errors(1, sample.detail)}])
            return
        self.firsts.append(sample.first)
        self.wholes.append(sample.whole)
        self.tokens += sample.tokens

    def round(self, seconds: float) -> Round:
        """The round, which took so many seconds. Errors count in no rate and no time."""
        rates = {"calls_per_second": len(self.wholes) / seconds, "tokens_per_second": self.tokens / seconds}
        late = {} if self.late is None else {"late_starts": float(self.late)}
        times = percentiles("first", self.firsts) | percentiles("whole", self.wholes)
        return Round(figures=rates | late | times, errors=self.errors)


def merged(found: Iterable[Mapping[str, Errors]]) -> dict[str, Errors]:
    """All errors together. What was said first stays."""
    total: dict[str, Errors] = {}
    for errors in found:
        for kind, more in errors.items():
            before = total.get(kind, Errors(0, more.first))
            total[kind] = Errors(before.count + more.count, before.first)
    return total


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all rounds."""

    least: float
    middle: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), median(values), max(values))


def spreads(rounds: Sequence[Round]) -> dict[str, Spread]:
    """Every figure that each round has."""
    return {name: spread([one.figures[name] for one in rounds]) for name in rounds[0].figures
            if all(name in one.figures for one in rounds)}


def percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """Under `name_p50` and so on; nothing of no values."""
    ordered = sorted(values)
    return {f"{name}_{point}": percentile(ordered, share) for point, share in POINTS.items()} if ordered else {}


def percentile(ordered: Sequence[float], share: int) -> float:
    """The nearest rank: the least value that is not exceeded by at least `share` of 100 values.

    It is one that was measured, never one in between
    (https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method). `ordered` is not empty.
    """
    return ordered[max(0, -(-share * len(ordered) // 100) - 1)]
