"""An operation is something to ask of Claude: one schema and one small function from a body to a prompt.

Declared once, it has a REST form, an SSE form and a place on the WebSocket, with validation and documentation.
"""
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from marshmallow import Schema, fields

from aioapp import errors
from aioapp.errors import AppError
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.web.operations.reply import Reply
from aioapp.web.schemas import Answer, Body
from aioapp.web.structured_output import json_schema

UPSTREAM_ERRORS = (
    errors.BadRequest, errors.BudgetSpent, errors.Forbidden, errors.LimitReached, errors.RequestTooLarge,
    errors.UnsupportedMediaType, errors.ValidationFailed, errors.RateLimited, errors.UpstreamFailed,
    errors.Unavailable, errors.NotInitialized, errors.CredentialsRefused, errors.Overloaded, errors.ShuttingDown,
    errors.UpstreamTimeout,
)

Said = Mapping[str, Any]
"""A JSON object."""


def no_extra(prompt: TextPrompt) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`prompt` makes the prompt from a loaded body; `extra` tells what the answer says beside `Answer`'s fields.

    `stream_path` is the path of the SSE form, `name` the `type` of its frames on the WebSocket.

    `prepare` looks something up first: what it gives is in the body for all that follows. `output` is the JSON that
    Claude is to answer with; the answer then has it as `data`. `finish` gives the answer, from what Claude said and the
    body; `answer` is its schema, and `sample` an example of it. What `prepare` and `finish` raise is answered as any
    error, and `errors` are those of it that are documented. Each may take `timeout` seconds.
    """

    name: str
    path: str
    stream_path: str
    summary: str
    description: str = ""
    body: type[Body]
    prepare: Callable[[web.Request, Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None
    prompt: Callable[[Mapping[str, Any]], TextPrompt]
    output: type[Schema] | None = None
    finish: Callable[[Reply, Mapping[str, Any]], Said | Awaitable[Said]] | None = None
    timeout: float = 10.0
    extra: Callable[[TextPrompt], Mapping[str, Any]] = no_extra
    answer: type[Schema] = Answer
    example: Mapping[str, Any]
    sample: Mapping[str, Any] | None = None
    errors: tuple[type[AppError], ...] = ()

    def __post_init__(self) -> None:
        if self.output is None:
            return
        json_schema(self.output)  # what Claude cannot be asked for is told now
        if self.answer is Answer:
            made = Answer.from_dict({"data": fields.Nested(self.output, required=True)}, name=f"{self.title}Answer")
            object.__setattr__(self, "answer", made)

    @property
    def title(self) -> str:
        """What the names of its schemas begin with."""
        return self.name[:1].upper() + self.name[1:]

    @property
    def works(self) -> bool:
        """Whether anything is done with what Claude answered."""
        return self.finish is not None or self.output is not None


def prompt_of(body: Mapping[str, Any], *turns: Turn, max_tokens: int | None = None) -> TextPrompt:
    """The prompt that `turns` and the options in `body` make."""
    return TextPrompt(
        messages=turns,
        max_tokens=max_tokens or body["max_tokens"],
        model=body.get("model"),
        system=system if (system := body.get("system", "")).strip() else None,
        temperature=body.get("temperature"),
        effort=body.get("effort"),
        stop_sequences=tuple(body.get("stop_sequences", ())),
    )
