"""What was written to a caller and waits to be taken."""
import asyncio
from math import inf

from aioapp.web.bounds import LEAST_TAKEN


class Backlog:
    """It may wait as long as its caller takes `LEAST_TAKEN` bytes of it every `patience` seconds.

    What waits may grow meanwhile, so it is measured from where it was most.
    """

    __slots__ = ("_due", "_most", "_patience")

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._due = inf
        self._most = 0

    def watch(self, now: float) -> None:
        """Its caller is to be watched, from now on if it was not yet."""
        if self._due == inf:
            self._due, self._most = now + self._patience, 0

    def forget(self) -> None:
        """Most of it was taken."""
        self._due = inf

    def is_stuck(self, transport: asyncio.WriteTransport, now: float) -> bool:
        if self._due == inf:
            return False
        size = transport.get_write_buffer_size()
        self._most = max(self._most, size)
        if size <= self._most - LEAST_TAKEN:
            self._most, self._due = size, now + self._patience
        return now >= self._due
