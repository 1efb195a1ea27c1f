"""What is asked of Claude: a model, turns of text, and how to answer them."""
from dataclasses import dataclass
from typing import Literal

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

    @property
    def size(self) -> int:
        """Bytes of text that Claude reads."""
        texts = (*(turn.content for turn in self.messages), self.system or "")
        return sum(len(text.encode(errors="surrogatepass")) for text in texts)
