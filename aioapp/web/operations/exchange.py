"""One request of an operation on its way, and the forms in which it can be answered."""
import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from typing import Any

from aiohttp import web
from marshmallow import Schema

from aioapp.errors import Unavailable
from aioapp.generation import Admission, Call, Generate
from aioapp.messages.fold import Fold
from aioapp.messages.prompt import TextPrompt
from aioapp.money import NANO
from aioapp.services import Services
from aioapp.web import answers, structured_output
from aioapp.web.context import ADMISSION, ASKS, GENERATION, SERVICES, Asks
from aioapp.web.operations.operation import Operation
from aioapp.web.operations.reply import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request of an operation, ready to be sent; each method below is one form in which it can be answered.

    What is wrong with an answer is thrown into the pipeline, so that all of its layers know how the call has ended.
    `works` is the operation, where that does something with the answer, and `output` the JSON that is asked for.
    """

    call: Call
    warnings: tuple[str, ...]
    extra: Mapping[str, Any]
    generate: Generate
    works: Operation | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    output: type[Schema] | None = None

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
        return self.answer() if self.works is None else await self.finished()

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

    def reply(self) -> Reply:
        """The same, for programs. Raises `UpstreamFailed` where it is not the JSON that was asked for."""
        message, answer = self.folded.message(), self.answer()
        data: Mapping[str, Any] = {}
        if self.output is not None:
            data = structured_output.read(message, self.output)
            answer["data"] = self.output().dump(data)
        return Reply(message=message, answer=answer, data=data, warnings=self.warnings,
                     cost_usd=self.call.generation.nanodollars / NANO, request_id=self.call.admission.request_id)

    async def finished(self) -> answers.Object:
        """What was answered, once all of it is there and the operation has done its work on it."""
        if self.works is None:
            return self.answer()
        reply = self.reply()
        if self.works.finish is None:
            return dict(reply.answer)
        said = self.works.finish(reply, self.body)
        if isawaitable(said):
            async with within(self.works.timeout, what="finish"):
                said = await said
        return dict(said)


def exchange(
        operation: Operation, body: Mapping[str, Any], *, services: Services, live: bool, admission: Admission,
) -> Exchange:
    prompt = operation.prompt(body)
    if operation.output is not None:
        prompt = asking_for(operation.output, prompt)
    call, warnings = services.call(prompt, live=live, admission=admission)
    return Exchange(call=call, warnings=warnings, extra=operation.extra(prompt), generate=services.generate, body=body,
                    works=operation if operation.works else None, output=operation.output)


def asking_for(output: type[Schema], prompt: TextPrompt) -> TextPrompt:
    """The prompt with the JSON that is to be answered."""
    return replace(prompt, output=structured_output.json_schema(output))


def requested(request: web.Request, operation: Operation, *, body: Mapping[str, Any], live: bool) -> Exchange:
    """The exchange that an HTTP request asks for."""
    exchanged = exchange(operation, body, services=request.app[SERVICES], live=live, admission=request[ADMISSION])
    request[GENERATION] = exchanged.call.generation
    return exchanged


async def prepared(request: web.Request, operation: Operation, *, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body with what the operation looks up for it."""
    if operation.prepare is None:
        return body
    request.setdefault(ASKS, Asks()).included = False  # what the request was counted for is the operation's own call
    async with within(operation.timeout, what="prepare"):
        return {**body, **await operation.prepare(request, body)}


@asynccontextmanager
async def within(seconds: float, *, what: str) -> AsyncIterator[None]:
    """Raises `Unavailable` where what is done takes longer; it is cancelled then."""
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            yield
    except TimeoutError:
        if not scope.expired():
            raise
        raise Unavailable(f"This server's own work on the request ({what}) took longer than {seconds:g} s.") from None
