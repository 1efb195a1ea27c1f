"""Ends the generations of a server that ends: new ones are refused, running ones get a while, then are stopped."""
import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field

from aioapp.errors import ShuttingDown
from aioapp.generation import Batch, Call, Generate, Layer

LAST_WORDS = 0.5
"""Seconds that a stopped generation gets to let go of Claude and of its caller."""


@dataclass(slots=True)
class Drain:
    """Who is running, and how far the end has come: it is announced, new ones are refused, running ones are stopped."""

    begun: bool = False
    refusing: bool = False
    expired: bool = False
    _running: dict[asyncio.Task[object], int] = field(default_factory=dict)  # a handler's may run several
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> int:
        """How many generations run."""
        return sum(self._running.values())

    async def announce(self, seconds: float) -> None:
        """Let it be known that the end has begun, and go on as ever for `seconds`: once, whoever else announces it."""
        if not self.begun:
            self.begun = True
            await asyncio.sleep(seconds)

    async def wait(self, seconds: float) -> None:
        """Refuse new generations, give the running ones `seconds`, then stop those that are left.

        The time is given once: whoever waits again, after it has passed, does not wait.
        """
        self.begun = self.refusing = True
        if not self.expired and not await self._quiet_within(seconds):
            self._stop()
            await self._quiet_within(LAST_WORDS)

    def enter(self) -> asyncio.Task[object]:
        if self.refusing:
            raise ShuttingDown("Send the request again; another server may take it.", retry_after=1)
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = self._running.get(task, 0) + 1
        return task

    def leave(self, task: asyncio.Task[object]) -> None:
        self._running[task] -= 1
        if not self._running[task]:
            del self._running[task]
        if self.refusing and not self._running:
            self._quiet.set()

    async def _quiet_within(self, seconds: float) -> bool:
        if self._running:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._quiet.wait()
        return not self._running

    def _stop(self) -> None:
        self.expired = True
        for task in self._running:
            task.cancel()


def drained(drain: Drain) -> Layer:
    def layer(inner: Generate) -> Generate:
        async def generate(call: Call) -> AsyncGenerator[Batch, None]:
            task, batches = drain.enter(), inner(call)
            try:
                try:
                    async for batch in batches:
                        yield batch
                finally:
                    await batches.aclose()
            except asyncio.CancelledError:
                # Stopped by us and by nobody else: the caller is there and is told why.
                if drain.expired and task.uncancel() == 0:
                    raise ShuttingDown("The generation was stopped.") from None
                raise
            finally:
                drain.leave(task)

        return generate

    return layer
