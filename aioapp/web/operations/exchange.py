"""One request of an operation on its way, and the forms in which it can be answered."""
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from aioapp.generation import Admission, Call, Generate
from aioapp.messages.fold import Fold
from aioapp.services import Services
from aioapp.web import answers
from aioapp.web.context import ADMISSION, GENERATION, SERVICES
from aioapp.web.operations.operation import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request of an operation, ready to be sent; each method below is one form in which it can be answered.

    What is wrong with an answer is thrown into the pipeline, so that all of its layers know how the call has ended.
    """

    call: Call
    warnings: tuple[str, ...]
    extra: Mapping[str, Any]
    generate: Generate

    folded: Fold = field(default_factory=Fold)

    async def whole(self) -> answers.Object:
        """The answer in one piece."""
        batches = self.generate(self.call)
        try:
            async for batch in batches:
                _, failure = self.folded.add_all(batch)
                if failure is not None:
                    await batches.athrow(failure)
        finally:
            await batches.aclose()  # not `aclosing`, whose three calls each request would pay for
        return self.answer()

    async def pieces(self) -> AsyncGenerator[list[str], None]:
        """The answer's text as it arrives: a list of pieces for each read from Claude.

        Raises `UpstreamFailed` in the end where all of it is no whole answer.
        """
        async with aclosing(self.generate(self.call)) as batches:
            async for batch in batches:
                pieces, failure = self.folded.add_all(batch)
                if pieces:
                    yield pieces
                if failure is not None:
                    await batches.athrow(failure)
        self.folded.message()

    def start(self) -> answers.Object:
        """What comes before the first piece: until then all may fail."""
        return {"type": "start", "model": self.call.prompt.model, "request_id": self.call.admission.request_id}

    def answer(self) -> answers.Object:
        """What was answered, once all of it is there."""
        said = answers.answer(self.folded.message(), prompt=self.call.prompt.text, warnings=self.warnings,
                              request_id=self.call.admission.request_id)
        return {**said, **self.extra}


def exchange(
        operation: Operation, body: Mapping[str, Any], *, services: Services, live: bool, admission: Admission,
) -> Exchange:
    prompt = operation.prompt(body)
    call, warnings = services.call(prompt, live=live, admission=admission)
    return Exchange(call=call, warnings=warnings, extra=operation.extra(prompt), generate=services.generate)


def requested(request: web.Request, operation: Operation, *, body: Mapping[str, Any], live: bool) -> Exchange:
    """The exchange that an HTTP request asks for."""
    exchanged = exchange(operation, body, services=request.app[SERVICES], live=live, admission=request[ADMISSION])
    request[GENERATION] = exchanged.call.generation
    return exchanged
