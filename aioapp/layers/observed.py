"""Sees how every generation begins and ends, as its caller sees it, and shows it to whoever keeps records of that."""
from collections.abc import AsyncGenerator, Iterable
from time import perf_counter

from aioapp.errors import AppError
from aioapp.generation import Batch, Call, Generate, Layer, Observer
from aioapp.messages.summary import TELLING


def observed(*, began: Observer, ended: Iterable[Observer]) -> Layer:
    def layer(inner: Generate) -> Generate:
        async def generate(call: Call) -> AsyncGenerator[Batch, None]:
            generation = call.generation
            start, answer, claude = perf_counter(), generation.answer, generation.meter.summary
            began(generation)
            batches = inner(call)
            try:
                try:
                    async for batch in batches:
                        if generation.first is None:
                            generation.first = perf_counter() - start
                        for event in [event for event in batch if event[0] in TELLING]:
                            answer.follow(event, claude)
                        yield batch
                finally:
                    await batches.aclose()
                generation.outcome, generation.status = "completed", 200
            except AppError as error:
                generation.outcome, generation.error, generation.refused = "failed", error.title, error.status < 500
                generation.status = error.status
                raise
            except Exception as error:
                generation.outcome, generation.error, generation.status = "failed", type(error).__name__, 500
                raise
            finally:
                generation.duration = perf_counter() - start  # uvloop's own clock has milliseconds
                for observer in ended:
                    observer(generation)

        return generate

    return layer
