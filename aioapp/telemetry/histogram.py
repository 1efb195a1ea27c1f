"""A histogram of one process alone, in plain numbers: prometheus-client's takes a lock and five calls for each time."""
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Series:
    """How many observations fell into each bucket, whose ends are `bounds`, and the sum of them all."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, amount: float) -> None:
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.sum += amount


class PlainHistogram(Collector):
    """As `prometheus_client.Histogram`, for as much as is used here."""

    def __init__(self, name: str, text: str, *, labels: Sequence[str], buckets: Sequence[float]) -> None:
        self._name, self._text, self._labels, self._buckets = name, text, labels, buckets
        self._series: dict[tuple[str, ...], Series] = {}

    def labels(self, *values: str) -> Series:
        """The series of these labels, the same each time."""
        return self._series.setdefault(values, Series(self._buckets))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What Prometheus is told: each bucket holds those below it too."""
        family, ends = HistogramMetricFamily(self._name, self._text, labels=self._labels), [*self._buckets, "+Inf"]
        for values, series in list(self._series.items()):  # another thread may ask, and find more of them
            family.add_metric(values, list(zip(map(str, ends), accumulate(series.counts))), series.sum)
        yield family
