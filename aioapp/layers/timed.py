"""Holds a call to its deadline."""
import asyncio
from collections.abc import AsyncGenerator

from aioapp.errors import UpstreamSilent
from aioapp.generation import Batch, Call, Generate


def timed(inner: Generate) -> Generate:
    async def generate(call: Call) -> AsyncGenerator[Batch, None]:
        alarm, batches = Alarm(call.deadline), inner(call)
        try:
            while (batch := await alarm.next_of(batches)) is not None:
                yield batch
        finally:
            alarm.stop()
            await batches.aclose()

    return generate


class Alarm:
    """Interrupts, at a time of the event loop's clock, whoever waits for a batch, and nobody who works on one.

    `asyncio.timeout_at` around each wait would do the same at several times the cost; this sets one timer a call.
    """

    __slots__ = ("_rung", "_timer", "_waiting")

    def __init__(self, when: float) -> None:
        self._rung = False
        self._waiting: asyncio.Task[object] | None = None
        self._timer = asyncio.get_running_loop().call_at(when, self._ring)

    async def next_of(self, batches: AsyncGenerator[Batch, None]) -> Batch | None:
        """The next batch, or None at the end. Raises `UpstreamSilent` where neither comes in time."""
        if self._rung:
            raise UpstreamSilent()
        task = self._waiting = asyncio.current_task()
        try:
            return await anext(batches, None)
        except asyncio.CancelledError:
            # Rung by us and stopped by nobody else.
            if self._rung and task is not None and task.uncancel() == 0:
                raise UpstreamSilent() from None
            raise
        finally:
            self._waiting = None

    def stop(self) -> None:
        self._timer.cancel()

    def _ring(self) -> None:
        self._rung = True
        if self._waiting is not None:
            self._waiting.cancel()
