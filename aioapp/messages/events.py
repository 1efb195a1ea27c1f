"""Claude's own events as values: what every part of the server below the wire speaks.

An answer is a stream of events in this order, deltas of text run together, or it raises an `AppError`:

    message                                                  a whole answer in one piece: nobody was watching
    | message_start (content_block_* | ping | unknown)* message_delta+ message_stop

The names and payloads are those of the Messages API (https://platform.claude.com/docs/en/build-with-claude/streaming).
"""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jiter

from aioapp.errors import UpstreamFailed
from aioapp.messages.billing import Usage as Usage

MOST_VALUES = 2**20
"""Of commas, objects or lists in one event: each makes an object that takes many times as much memory."""


class Event(NamedTuple):
    """One event: its name and its JSON payload, byte for byte as it came. It is parsed only when somebody looks."""

    name: str
    raw: bytes


class Whole(Event):
    """An answer in one piece, which is looked into more than once: it is parsed once, and nobody changes what it says.
    """

    said: dict[str, Any] | None = None


class Deltas(Event):
    """Pieces of text of one block that came one after another, as one event: `raw` are their frames.

    A read of a quick answer holds hundreds of them; nobody needs to look at each.
    """

    block: int
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Message:
    """A whole answer: `body` is the JSON object that the Messages API returns for it."""

    body: Mapping[str, Any]

    @property
    def text(self) -> str:
        """All text blocks joined: thinking may come first, and there may be no text at all."""
        return "".join([block["text"] for block in self.body["content"] if block["type"] == "text"])

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def stop_reason(self) -> str | None:
        reason: str | None = self.body.get("stop_reason")
        return reason

    @property
    def usage(self) -> Usage:
        return Usage.of(self.body.get("usage"))


def payload(event: Event) -> dict[str, Any]:
    """What the event says. Raises `UpstreamFailed` where that is not a JSON object, or one of too many values."""
    if isinstance(event, Whole):
        event.said = event.said or parsed(event.raw)
        return event.said
    return parsed(event.raw)


def parsed(raw: bytes) -> dict[str, Any]:
    if len(raw) > MOST_VALUES and max(map(raw.count, (b",", b"{", b"["))) > MOST_VALUES:
        raise UpstreamFailed("Claude sent an event of too many values.")
    try:
        value = jiter.from_json(raw)
    except ValueError:
        raise UpstreamFailed("Claude sent an event that is not valid JSON.") from None
    if not isinstance(value, dict):
        raise UpstreamFailed("Claude sent an event that is not a JSON object.")
    return value
