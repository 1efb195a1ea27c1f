"""Claude's own events as values: what every part of the server below the wire speaks.

An answer is a stream of events in this order, or it raises an `AppError`:

    message                                                  a whole answer in one piece: nobody was watching
    | message_start (content_block_* | ping | unknown)* message_delta+ message_stop

The names and payloads are those of the Messages API (https://platform.claude.com/docs/en/build-with-claude/streaming).
"""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jiter

from aioapp.errors import UpstreamFailed


class Event(NamedTuple):
    """One event: its name and its JSON payload, byte for byte as it came. It is parsed only when somebody looks."""

    name: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A whole answer: `body` is the JSON object that the Messages API returns for it."""

    body: Mapping[str, Any]

    @property
    def text(self) -> str:
        """All text blocks joined: thinking may come first, and there may be no text at all."""
        return "".join(block["text"] for block in self.body["content"] if block["type"] == "text")

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def stop_reason(self) -> str | None:
        reason: str | None = self.body.get("stop_reason")
        return reason

    @property
    def usage(self) -> "Usage":
        return Usage.of(self.body.get("usage"))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as Claude counted them. `input_tokens` leaves out what was written to or read from Claude's cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0

    @classmethod
    def of(cls, usage: object) -> "Usage":
        """The counts in a message's `usage`; what is no sane number counts as none."""
        if not isinstance(usage, dict):
            return cls()
        counts = map(usage.get, cls.__slots__)
        return cls(*[count if type(count) is int and 0 <= count < 2**40 else 0 for count in counts])

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens + self.cache_creation_input_tokens + self.cache_read_input_tokens


def payload(event: Event) -> dict[str, Any]:
    """What the event says. Raises `UpstreamFailed` where that is not a JSON object."""
    try:
        value = jiter.from_json(event.raw)
    except ValueError:
        raise UpstreamFailed("Claude sent an event that is not valid JSON.") from None
    if not isinstance(value, dict):
        raise UpstreamFailed("Claude sent an event that is not a JSON object.")
    return value


def text_of(event: Event) -> str:
    """The piece of text that the event adds to the answer, most often none."""
    match event.name:
        case "content_block_delta":
            return text_in(payload(event).get("delta"), "text_delta")
        case "content_block_start":
            return text_in(payload(event).get("content_block"), "text")
        case "message":
            return fold([event]).text
    return ""


def text_in(part: object, kind: str) -> str:
    # Looked up by hand: this runs for every delta of every stream, and a mapping pattern takes three times as long.
    if isinstance(part, dict) and part.get("type") == kind and isinstance(text := part.get("text"), str):
        return text
    return ""


class Fold:
    """Gathers a stream's events into the message that they tell, one event at a time."""

    __slots__ = ("_body", "_pieces")

    def __init__(self) -> None:
        self._body: dict[str, Any] = {}
        self._pieces: dict[int, list[str]] = {}

    def add(self, event: Event) -> None:
        """Take one event in. Raises `UpstreamFailed` where it does not fit those before it."""
        try:
            self._take(event)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise UpstreamFailed(f"Claude sent a {event.name} event that makes no sense here.") from None

    def so_far(self) -> Mapping[str, Any]:
        """The message's body as far as it is known: empty before the stream has begun."""
        return self._body

    def message(self) -> Message:
        """The message. Raises `UpstreamFailed` where what was taken in tells none, or only a part of one."""
        match self._body:
            case {"model": str(), "content": [*blocks]} if all(map(is_block, blocks)) and self._is_sound():
                return Message(self._body)
        raise UpstreamFailed("Claude's answer is not a message.")

    def _is_sound(self) -> bool:
        """Whether every block has ended, and what callers are told of the answer is of the kind they are told."""
        reason, usage = self._body.get("stop_reason"), self._body.get("usage")
        return not self._pieces and isinstance(reason, str | None) and isinstance(usage, dict | None)

    def _take(self, event: Event) -> None:
        match event.name:
            case "message":
                self._begin(payload(event))
            case "message_start":
                self._begin(payload(event)["message"])
            case "content_block_start":
                data = payload(event)
                self._body["content"].insert(data["index"], data["content_block"])
            case "content_block_delta":
                data = payload(event)
                self._extend(data["index"], data["delta"])
            case "content_block_stop":
                self._close(payload(event)["index"])
            case "message_delta":
                data = payload(event)
                self._body.update(data["delta"])
                # Cumulative: overwrite, never add; what is not named keeps the value that message_start gave it.
                self._body.setdefault("usage", {}).update(data.get("usage") or {})

    def _begin(self, body: object) -> None:
        if not isinstance(body, dict):
            raise TypeError("A message is an object.")
        self._body = body

    def _extend(self, index: int, delta: Mapping[str, Any]) -> None:
        block = self._body["content"][index]
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                self._gather(index, text)
            case {"type": "thinking_delta", "thinking": str(text)}:
                self._gather(index, text)
            case {"type": "input_json_delta", "partial_json": str(text)}:
                self._gather(index, text)
            case {"type": "signature_delta", "signature": str(signature)}:
                block["signature"] = signature
            case {"type": "citations_delta", "citation": citation}:
                block["citations"] = [*(block.get("citations") or []), citation]

    def _gather(self, index: int, piece: str) -> None:
        self._pieces.setdefault(index, []).append(piece)

    def _close(self, index: int) -> None:
        block, text = self._body["content"][index], "".join(self._pieces.pop(index, ()))
        match block["type"]:
            case "text" | "thinking" as kind:
                block[kind] += text
            case _ if text:
                block["input"] = payload(Event("input_json", text.encode()))


def is_block(block: object) -> bool:
    match block:
        case {"type": "text", "text": str()}:
            return True
        case {"type": str(kind)}:
            return kind != "text"
    return False


def fold(events: Iterable[Event]) -> Message:
    """The message that a whole stream tells. Raises `UpstreamFailed` where it tells none."""
    folded = Fold()
    for event in events:
        folded.add(event)
    return folded.message()
