"""What Claude answered, as a program of your own gets it."""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aioapp.messages.events import Message, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole answer.

    `message` is Claude's own; `answer` is what `/api/generate` answers for it, as JSON. `data` is the JSON that was
    asked for, as its schema loads it, empty where none was. `cost_usd` are the dollars that it cost. `warnings` name
    each setting that the model does not take, and `request_id` stands in the log and in the accounts.
    """

    message: Message
    answer: Mapping[str, Any]
    data: Mapping[str, Any]
    cost_usd: float
    warnings: tuple[str, ...]
    request_id: str

    @property
    def text(self) -> str:
        """All text of the answer; it may be empty: see `stop_reason`."""
        return self.message.text

    @property
    def model(self) -> str:
        """The model that answered."""
        return self.message.model

    @property
    def stop_reason(self) -> str | None:
        """`end_turn`, `max_tokens`, `stop_sequence`, `refusal`, …, as Claude has them."""
        return self.message.stop_reason

    @property
    def usage(self) -> Usage:
        """Tokens, as Claude counted them."""
        return self.message.usage
