"""What a series is to those who count: something to add to, under labels that take few values."""
from typing import Protocol

OTHER = "other"


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
