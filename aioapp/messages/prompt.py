"""What is asked of Claude: opaque to every room but those that make it, and answered by itself where they must know."""
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from aioapp.messages.abilities import Thinking, abilities
from aioapp.messages.estimate import most_tokens

Effort = Literal["low", "medium", "high", "xhigh", "max"]
Role = Literal["user", "assistant"]

JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)
"""As short as it can be: escapes would make six bytes of a letter that has two."""
VERSION = "2026-10-21"
VERSION_WITH_TEMPERATURE = "2023-06-01"
"""Since 2026-10-21 `temperature` is an error for every model; models up to 4.6 still take it under this version."""

PER_OUTPUT = 1000
"""Tokens with which Claude is told of a schema, beside the schema: a few hundred, as for tools."""


class Prompt(Protocol):
    """One request to the Messages API, whatever it is made of."""

    @property
    def model(self) -> str | None:
        """None for the server's default, until it is fitted."""

    @property
    def models(self) -> tuple[str, ...]:
        """All models that may be used for it, its own first; none where it names none."""

    @property
    def max_tokens(self) -> int:
        """The most that Claude may write."""

    @property
    def size(self) -> int:
        """Bytes of text that Claude reads."""

    @property
    def most_input(self) -> int:
        """Tokens that Claude reads: never less than it will count, but for what `unbounded` names."""

    @property
    def media(self) -> int:
        """Tokens that its pictures and documents are guessed to take."""

    @property
    def unbounded(self) -> str | None:
        """What in it may take more tokens than anybody can say beforehand, such as a tool of Claude's own."""

    @property
    def verbatim(self) -> bool:
        """Whether it is passed on as it came, and Claude's answer too, refusals included."""

    @property
    def query(self) -> str:
        """What goes behind the path, encoded, with its question mark."""

    @property
    def text(self) -> str:
        """What a person would call the prompt, for records."""

    def fitted(self, model: str) -> tuple["Prompt", tuple[str, ...]]:
        """The prompt for `model`, less what that model does not take, and a warning for each setting left out."""

    def headers(self) -> Mapping[str, str]:
        """What goes with `body` beside credentials."""

    def body(self, *, live: bool) -> bytes:
        """The body of `POST /v1/messages`; `live` asks for a stream."""


@dataclass(frozen=True, slots=True)
class Turn:
    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPrompt:
    """A prompt of plain text. `output` is the JSON schema of what is to be answered, None for any text. `thinking` is
    set where it is fitted to its model."""

    messages: tuple[Turn, ...]
    max_tokens: int
    model: str | None = None
    system: str | None = None
    temperature: float | None = None
    effort: Effort | None = None
    stop_sequences: tuple[str, ...] = ()
    output: Mapping[str, Any] | None = None
    thinking: Thinking | None = None

    @property
    def models(self) -> tuple[str, ...]:
        return () if self.model is None else (self.model,)

    @property
    def media(self) -> int:
        return 0

    @property
    def unbounded(self) -> None:
        return None

    @property
    def verbatim(self) -> bool:
        return False

    @property
    def query(self) -> str:
        return ""

    @property
    def size(self) -> int:
        texts = (*(turn.content for turn in self.messages), self.system or "")
        return sum(len(text.encode(errors="surrogatepass")) for text in texts)

    @property
    def most_input(self) -> int:
        most = most_tokens([turn.content for turn in self.messages], self.system or "", *self.stop_sequences)
        return most if self.output is None else most + PER_OUTPUT + len(JSON.encode(self.output).encode())

    @property
    def text(self) -> str:
        """The last turn."""
        return self.messages[-1].content

    def fitted(self, model: str) -> tuple["TextPrompt", tuple[str, ...]]:
        """It asks for as little thinking as the model allows: `max_tokens` covers that too, and a plain answer is text.
        """
        able = abilities(model)
        left_out = [name for name in ("temperature", "effort")
                    if getattr(self, name) is not None and not getattr(able, name)]
        fit = TextPrompt(
            messages=self.messages, max_tokens=self.max_tokens, model=model, system=self.system,
            temperature=self.temperature if able.temperature else None, effort=self.effort if able.effort else None,
            stop_sequences=self.stop_sequences, output=self.output, thinking=able.quiet)
        if not left_out:
            return fit, ()
        return fit, tuple(f"{name} was left out: {model} does not take it." for name in left_out)

    def headers(self) -> Mapping[str, str]:
        return {"anthropic-version": VERSION if self.temperature is None else VERSION_WITH_TEMPERATURE}

    def body(self, *, live: bool) -> bytes:
        """Raises nothing: it is for a fitted prompt, which names a model and asks nothing that it does not take."""
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": [{"role": turn.role, "content": turn.content} for turn in self.messages],
        }
        optional = {
            "system": self.system,
            "temperature": self.temperature,
            "stop_sequences": self.stop_sequences or None,
            "output_config": {"effort": self.effort} if self.effort else None,
            "thinking": {"type": self.thinking} if self.thinking else None,
            "stream": live or None,
        }
        body.update({name: value for name, value in optional.items() if value is not None})
        if self.output is not None:
            body["output_config"] = {**body.get("output_config", {}),
                                     "format": {"type": "json_schema", "schema": self.output}}
        return JSON.encode(body).encode(errors="surrogatepass")  # a half of a character is Claude's to refuse
