"""An operation is something to ask of Claude: one schema and one small function from a body to a prompt.

Declared once, it has a REST form, an SSE form and a place on the WebSocket, with validation and documentation.
"""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema

from aioapp import errors
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.web.schemas import Answer, Body

UPSTREAM_ERRORS = (
    errors.BadRequest, errors.BudgetSpent, errors.Forbidden, errors.LimitReached, errors.RequestTooLarge,
    errors.UnsupportedMediaType, errors.ValidationFailed, errors.RateLimited, errors.UpstreamFailed,
    errors.Unavailable, errors.NotInitialized, errors.CredentialsRefused, errors.Overloaded, errors.ShuttingDown,
    errors.UpstreamTimeout,
)


def no_extra(prompt: TextPrompt) -> Mapping[str, Any]:
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
    prompt: Callable[[Mapping[str, Any]], TextPrompt]
    extra: Callable[[TextPrompt], Mapping[str, Any]] = no_extra
    answer: type[Schema] = Answer
    example: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What the names of its schemas begin with."""
        return self.name[:1].upper() + self.name[1:]


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
