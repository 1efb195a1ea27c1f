"""An operation is something to ask of Claude: one schema and one small function from a body to a prompt.

Declared once, it has a REST form, an SSE form and a place on the WebSocket, with validation and documentation.
"""
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from marshmallow import Schema

from aioapp import errors
from aioapp.callers import Caller
from aioapp.generation import Batch, Call, Generate
from aioapp.messages.prompt import Prompt, Turn
from aioapp.messages.events import Message
from aioapp.messages.fold import Fold
from aioapp.services import Services
from aioapp.web import answers
from aioapp.web.context import ADMITTED, CALL, CALLER, REQUEST_ID, SERVICES
from aioapp.web.endpoint import Endpoint, json_response, read_body
from aioapp.web.schemas import SAMPLE, Answer, Body
from aioapp.web.validation import loaded

UPSTREAM_ERRORS = (
    errors.BadRequest, errors.BudgetSpent, errors.Forbidden, errors.LimitReached, errors.RequestTooLarge,
    errors.UnsupportedMediaType, errors.ValidationFailed, errors.RateLimited, errors.UpstreamFailed,
    errors.Unavailable, errors.NotInitialized, errors.CredentialsRefused, errors.Overloaded, errors.ShuttingDown,
    errors.UpstreamTimeout,
)


def no_extra(prompt: Prompt) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`prompt` makes the prompt from a loaded body; `extra` tells what the answer says beside `Answer`'s fields.

    `stream_path` is the path of the SSE form, `name` the `type` of its frames on the WebSocket.
    """

    name: str
    path: str
    stream_path: str
    summary: str
    description: str = ""
    body: type[Body]
    prompt: Callable[[Mapping[str, Any]], Prompt]
    extra: Callable[[Prompt], Mapping[str, Any]] = no_extra
    answer: type[Schema] = Answer
    example: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What the names of its schemas begin with."""
        return self.name[:1].upper() + self.name[1:]


def prompt_of(body: Mapping[str, Any], *turns: Turn, max_tokens: int | None = None) -> Prompt:
    """The prompt that `turns` and the options in `body` make."""
    return Prompt(
        messages=turns,
        max_tokens=max_tokens or body["max_tokens"],
        model=body.get("model"),
        system=system if (system := body.get("system", "")).strip() else None,
        temperature=body.get("temperature"),
        effort=body.get("effort"),
        stop_sequences=tuple(body.get("stop_sequences", ())),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request of an operation, ready to be sent; each method below is one form in which it can be answered."""

    call: Call
    warnings: tuple[str, ...]
    extra: Mapping[str, Any]
    generate: Generate

    async def whole(self) -> answers.Object:
        """The answer in one piece."""
        folded = Fold()
        async with aclosing(self.generate(self.call)) as batches:
            async for batch in batches:
                for event in batch:
                    folded.add(event)
        return self._answer(folded.message())

    async def pieces(self) -> AsyncGenerator[list[str], None]:
        """The answer's text as it arrives: a list of pieces for each read from Claude.

        Raises `UpstreamFailed` in the end where all of it is no whole answer.
        """
        folded = Fold()
        async with aclosing(self.generate(self.call)) as batches:
            async for batch in batches:
                pieces, failure = added(folded, batch)
                if pieces:
                    yield pieces
                if failure is not None:
                    raise failure
        folded.message()

    async def frames(self) -> AsyncGenerator[list[answers.Object], None]:
        """The answer as `start`, `delta`… and `done`. `start` waits for the first piece: until then all may fail."""
        folded, begun = Fold(), False
        async with aclosing(self.generate(self.call)) as batches:
            async for batch in batches:
                pieces, failure = added(folded, batch)
                if pieces:
                    yield [*([] if begun else [self._start()]), *[{"type": "delta", "text": text} for text in pieces]]
                    begun = True
                if failure is not None:
                    raise failure
        yield [*([] if begun else [self._start()]), {"type": "done", **self._answer(folded.message())}]

    def _start(self) -> answers.Object:
        return {"type": "start", "model": self.call.prompt.model, "request_id": self.call.request_id}

    def _answer(self, message: Message) -> answers.Object:
        prompt = self.call.prompt.messages[-1].content
        said = answers.answer(message, prompt=prompt, warnings=self.warnings, request_id=self.call.request_id)
        return {**said, **self.extra}


def added(folded: Fold, batch: Batch) -> tuple[list[str], errors.UpstreamFailed | None]:
    """Take the batch in; gives the pieces of text that it adds, and what is wrong with what came behind them."""
    pieces: list[str] = []
    for event in batch:
        try:
            text = folded.add(event)
        except errors.UpstreamFailed as error:
            return pieces, error
        if text:
            pieces.append(text)
    return pieces, None


def exchange(
        operation: Operation, body: Mapping[str, Any], *, services: Services, live: bool, caller: Caller, admitted: int,
        request_id: str,
) -> Exchange:
    prompt = operation.prompt(body)
    call, warnings = services.call(prompt, live=live, caller=caller, admitted=admitted, request_id=request_id)
    return Exchange(call=call, warnings=warnings, extra=operation.extra(prompt), generate=services.generate)


def asked(request: web.Request, operation: Operation, *, body: Mapping[str, Any], live: bool) -> Exchange:
    """The exchange that an HTTP request asks for."""
    exchanged = exchange(
        operation, body, services=request.app[SERVICES], live=live, caller=request[CALLER], admitted=request[ADMITTED],
        request_id=request[REQUEST_ID])
    request[CALL] = exchanged.call
    return exchanged


def rest(operation: Operation) -> Endpoint:
    """The operation's REST form: one JSON body in, one JSON answer out."""
    schema = operation.body()

    async def handle(request: web.Request) -> web.Response:
        body = await read_body(request, schema)
        return json_response(await asked(request, operation, body=body, live=False).whole())

    return Endpoint(
        name=operation.name, method="POST", path=operation.path, handler=handle, tag="Claude",
        summary=operation.summary, description=operation.description, body=operation.body, example=operation.example,
        answers={200: {"application/json": operation.answer}}, sample=sample(operation), errors=UPSTREAM_ERRORS)


def sample(operation: Operation) -> Mapping[str, Any]:
    """What the operation's example might be answered. Raises where the example is not valid."""
    prompt = operation.prompt(loaded(operation.body(), operation.example))
    return {**SAMPLE, "prompt": prompt.messages[-1].content, **operation.extra(prompt)}
