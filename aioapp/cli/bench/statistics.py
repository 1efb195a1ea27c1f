"""What was measured, in a few numbers. Seconds, unless said otherwise."""
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

POINTS = {"p50": 50, "p95": 95, "p99": 99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One call: seconds to its first text and to its end, and the tokens of its answer; or why there is none."""

    first: float = 0.0
    whole: float = 0.0
    tokens: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """All calls of one transport in one round, which took so many seconds."""

    samples: Sequence[Sample]
    seconds: float

    @property
    def errors(self) -> Counter[str]:
        return Counter(sample.error for sample in self.samples if sample.error)

    def figures(self) -> dict[str, float]:
        """By name: calls and tokens a second, and the percentiles of both times. Errors count in neither."""
        good = [sample for sample in self.samples if sample.error is None]
        found = {"calls_per_second": len(good) / self.seconds,
                 "tokens_per_second": sum(sample.tokens for sample in good) / self.seconds}
        for name, times in (("first", [one.first for one in good]), ("whole", [one.whole for one in good])):
            found |= {f"{name}_{point}": percentile(times, share) for point, share in POINTS.items()} if times else {}
        return found


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
    figures = [one.figures() for one in rounds]
    return {name: spread([one[name] for one in figures]) for name in figures[0] if all(name in one for one in figures)}


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank: the least of the values that at least `share` percent of all of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share / 100 * len(ordered)) - 1)]
