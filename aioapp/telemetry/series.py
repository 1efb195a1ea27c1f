"""What a series is to those who count: something to add to, under labels that take few values."""
from typing import Protocol

OTHER = "other"

QUICK = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)
USUAL = (0.002, 0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
FIRST = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""The ends of a histogram's buckets, in seconds."""


class Adds(Protocol):
    """A series to which amounts can be added."""

    def inc(self, amount: float = 1) -> None: ...


class Observes(Protocol):
    """A histogram's series, which takes one observation at a time."""

    def observe(self, amount: float) -> None: ...


class Names:
    """The values of one label: at most `most` of them, and `OTHER` for what comes after those."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int) -> None:
        self._known: set[str] = set()
        self._most = most

    def of(self, name: str) -> str:
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return name
