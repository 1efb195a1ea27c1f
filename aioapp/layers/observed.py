"""Sees how every generation begins and ends, and hands a record of it to whoever keeps such records."""
import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from aioapp.errors import AppError
from aioapp.generation import Batch, Call, Generate, Layer, Outcome, Record
from aioapp.messages.events import Usage


def observed(
        *, began: Callable[[Call], None], ended: Callable[[Record], None], cost: Callable[[str, Usage], int]) -> Layer:
    """`cost` is what usage of a model costs, in nanodollars."""
    def layer(inner: Generate) -> Generate:
        async def generate(call: Call) -> AsyncGenerator[Batch, None]:
            began(call)
            watch = Watch(call)
            try:
                async with aclosing(inner(call)) as batches:
                    async for batch in batches:
                        watch.see()
                        yield batch
                watch.outcome = "completed"
            except AppError as error:
                watch.fail(error.title)
                raise
            except Exception as error:
                watch.fail(type(error).__name__)
                raise
            finally:
                call.meter.record = watch.record(cost)
                ended(call.meter.record)

        return generate

    return layer


class Watch:
    """The ending of one generation, and its times."""

    __slots__ = ("_call", "_began", "_first", "_error", "outcome")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._began = asyncio.get_running_loop().time()
        self._first: float | None = None
        self._error: str | None = None
        self.outcome: Outcome = "cancelled"

    def see(self) -> None:
        if self._first is None:
            self._first = asyncio.get_running_loop().time() - self._began

    def fail(self, error: str) -> None:
        self.outcome, self._error = "failed", error

    def record(self, cost: Callable[[str, Usage], int]) -> Record:
        meter, model = self._call.meter, self._call.prompt.model
        usage = meter.usage
        return Record(
            call=self._call,
            outcome=self.outcome,
            error=self._error,
            model=meter.model,
            stop_reason=meter.stop_reason,
            usage=usage,
            nanodollars=cost(meter.model or model or "", usage),
            first=self._first,
            duration=asyncio.get_running_loop().time() - self._began,
            asked=meter.asked,
        )
