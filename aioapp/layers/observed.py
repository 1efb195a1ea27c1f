"""Sees how every generation ends, and hands one record of it to whoever keeps such records."""
import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from aioapp.errors import AppError
from aioapp.events import Event, Fold, Usage
from aioapp.generation import Batch, Call, Generate, Layer

Outcome = Literal["completed", "cancelled", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One generation, ended. Times are in seconds; `first` is the time to the first batch, None if there was none."""

    call: Call
    outcome: Outcome
    error: str | None
    model: str | None
    stop_reason: str | None
    usage: Usage
    first: float | None
    duration: float


def observed(record: Callable[[Record], None]) -> Layer:
    def layer(inner: Generate) -> Generate:
        async def generate(call: Call) -> AsyncGenerator[Batch, None]:
            watch = Watch(call)
            try:
                async with aclosing(inner(call)) as batches:
                    async for batch in batches:
                        watch.see(batch)
                        yield batch
                watch.outcome = "completed"
            except AppError as error:
                watch.fail(error.title)
                raise
            except Exception as error:
                watch.fail(type(error).__name__)
                raise
            finally:
                record(watch.record())

        return generate

    return layer


class Watch:
    """What is known of one generation while it runs. It reads only the events that carry usage."""

    __slots__ = ("_call", "_began", "_first", "_fold", "_error", "outcome")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._began = asyncio.get_running_loop().time()
        self._first: float | None = None
        self._fold = Fold()
        self._error: str | None = None
        self.outcome: Outcome = "cancelled"

    def see(self, batch: Batch) -> None:
        if self._first is None:
            self._first = asyncio.get_running_loop().time() - self._began
        for event in batch:
            if carries_usage(event):
                self._fold.add(event)

    def fail(self, error: str) -> None:
        self.outcome, self._error = "failed", error

    def record(self) -> Record:
        message = self._fold.so_far()
        return Record(
            call=self._call,
            outcome=self.outcome,
            error=self._error,
            model=message.get("model"),
            stop_reason=message.get("stop_reason"),
            usage=Usage.of(message.get("usage")),
            first=self._first,
            duration=asyncio.get_running_loop().time() - self._began,
        )


def carries_usage(event: Event) -> bool:
    return event.name in ("message_start", "message_delta", "message")
