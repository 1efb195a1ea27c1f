"""What an answer says of itself: the model that gives it, why it stopped, and the tokens that it took."""
from typing import Any

from aioapp.errors import UpstreamFailed
from aioapp.messages.billing import told
from aioapp.messages.events import Event, Usage, payload

TELLING = frozenset({"message", "message_start", "message_delta"})
"""The events that say any of it."""


class Summary:
    """Gathered from the events that tell it, one at a time; what is no sane value counts as none."""

    __slots__ = ("_counted", "_last", "_usage", "begun", "model", "stop_reason")

    def __init__(self) -> None:
        self._last: Event | None = None
        self._usage: dict[str, Any] = {}  # never changed, for it is part of an event, and `follow` shares it
        self._counted: Usage | None = None
        self.begun = False
        self.model: str | None = None
        self.stop_reason: str | None = None

    def add(self, event: Event) -> None:
        """Take in one of the `TELLING`. It never judges: what cannot be read says nothing."""
        self._last = event
        try:
            said = payload(event)
        except UpstreamFailed:
            return
        match event.name:
            case "message_start":
                said = said.get("message")  # type: ignore[assignment]  # whatever it is, it is looked at below
            case "message_delta":
                # Cumulative: overwrite, never add; what is not named keeps the value that message_start gave it.
                said = {"usage": said.get("usage"), **stopping(said.get("delta"))}
        self.begun = True
        if not isinstance(said, dict):
            return
        if isinstance(model := said.get("model"), str):
            self.model = model
        if isinstance(reason := said.get("stop_reason"), str):
            self.stop_reason = reason
        if isinstance(usage := said.get("usage"), dict):
            self._usage = {**self._usage, **told(usage)} if self._usage else usage
            self._counted = None

    def follow(self, event: Event, other: "Summary") -> None:
        """As `add`, where `other` has most likely just taken in the same: nothing is parsed twice."""
        if other._last is not event:
            return self.add(event)
        self._last, self._usage, self._counted, self.begun = event, other._usage, other._counted, True
        self.model, self.stop_reason = other.model, other.stop_reason

    @property
    def usage(self) -> Usage:
        if self._counted is None:
            self._counted = Usage.of(self._usage)
        return self._counted


def stopping(delta: object) -> dict[str, Any]:
    return {"stop_reason": delta.get("stop_reason")} if isinstance(delta, dict) else {}
