"""One pipeline: a call goes in, Claude's events come out, and layers stand between.

REST is a stream that was folded, SSE and WebSocket are one that was framed; nothing here knows which.
"""
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from aioapp.events import Event

Effort = Literal["low", "medium", "high", "xhigh", "max"]
Role = Literal["user", "assistant"]
Thinking = Literal["disabled", "between_tools"]


@dataclass(frozen=True, slots=True)
class Turn:
    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is asked of Claude. `model` is None for the server's default; `max_tokens` bounds the answer.

    `thinking` is set where a prompt is fitted to its model.
    """

    messages: tuple[Turn, ...]
    max_tokens: int
    model: str | None = None
    system: str | None = None
    temperature: float | None = None
    effort: Effort | None = None
    stop_sequences: tuple[str, ...] = ()
    thinking: Thinking | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One prompt on its way.

    `live` says that somebody watches the deltas, so Claude is asked to stream; `deadline` is in seconds of the event
    loop's clock; `client` and `request_id` say in the log who asked.
    """

    prompt: Prompt
    deadline: float
    live: bool = False
    client: str = ""
    request_id: str = ""


Batch = Sequence[Event]
"""All events that arrived in one read, so that whoever frames them can write once."""

Generate = Callable[[Call], AsyncGenerator[Batch, None]]
Layer = Callable[[Generate], Generate]


def compose(upstream: Generate, *layers: Layer) -> Generate:
    """Wrap `upstream` in `layers`, the first one outermost."""
    for layer in reversed(layers):
        upstream = layer(upstream)
    return upstream
