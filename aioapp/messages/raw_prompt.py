"""A prompt as its caller wrote it: it goes to Claude byte for byte, and is looked at only for what must be known of it.

What Claude may be asked grows with every release of its clients, so nothing is refused here that Claude might take.
"""
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jiter

from aioapp.errors import BadRequest
from aioapp.messages import estimate
from aioapp.messages.blocks import blocks_of, text_of
from aioapp.messages.named_models import models_of, problem

MOST_CONTEXT = 1_000_000
"""Tokens that a model reads at once, at most: Claude refuses more, and takes nothing for that."""
MOST_WRITTEN = 10**9
"""Tokens: what asks for more is Claude's to refuse."""
PER_ESCAPE = 33
"""Bytes that one character may take in its compatible form, however it is escaped (see `estimate`)."""
OF_CLAUDE = ("mcp_servers", "container", "context_management")
"""Fields that make turns of their own, whose input nobody can count beforehand."""
OF_CLIENTS = ("bash_", "text_editor_", "computer_", "memory_", "custom")
"""Types of tools that the caller runs, by how they begin; all others with a type are run by Claude."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPrompt:
    """A `Prompt` whose `raw` is the body and `given` the headers that go on.

    `media` are the tokens that its pictures and documents are guessed to take, and `blobs` their bytes, which are no
    text.
    """

    raw: bytes = field(repr=False)
    query: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    model: str
    models: tuple[str, ...]
    max_tokens: int
    live: bool
    media: int = 0
    most_media: int = 0
    blobs: int = 0
    unbounded: str | None = None
    text: str = ""

    @property
    def verbatim(self) -> bool:
        return True

    @property
    def size(self) -> int:
        return len(self.raw) - self.blobs

    @property
    def most_input(self) -> int:
        """By bytes, as for any text; but no more than a model can read."""
        raw = self.raw
        if self.size >= MOST_CONTEXT:  # a text has as many tokens as bytes, or more
            return MOST_CONTEXT
        text = len(raw) if raw.isascii() else estimate.size(raw.decode(errors="replace"))
        escaped = PER_ESCAPE * raw.count(b"\\u")
        return min(MOST_CONTEXT, estimate.PER_PROMPT + text - self.blobs + escaped + self.most_media)

    def fitted(self, model: str) -> tuple["RawPrompt", tuple[str, ...]]:
        """It names its model, and is never changed."""
        return self, ()

    def headers(self) -> Mapping[str, str]:
        return self.given

    def body(self, *, live: bool) -> bytes:
        return self.raw


def read(raw: bytes, *, query: str = "", headers: Mapping[str, str] | None = None) -> RawPrompt:
    """The prompt that a body of `POST /v1/messages` is. Raises `BadRequest`, in Claude's words where it has any."""
    body = parsed(raw)
    models, most = models_of(body), body.get("max_tokens")
    if type(most) is not int:
        raise BadRequest(problem(body, "max_tokens", otherwise="Input should be a valid integer"))
    if most < 0:
        raise BadRequest("max_tokens: Input should be greater than or equal to 0")
    blocks = list(blocks_of(body))
    return RawPrompt(
        raw=raw, query=f"?{query}" if query else "", given=headers or {}, model=models[0],
        models=models, max_tokens=most_written(body, most), live=body.get("stream") is True,
        media=sum(block.tokens for block in blocks), most_media=sum(block.most_tokens for block in blocks),
        blobs=sum(block.blob for block in blocks), unbounded=unbounded(body), text=text_of(body))


def parsed(raw: bytes) -> dict[str, Any]:
    """The body's JSON object. A name that comes twice would be one thing to us and may be another to Claude."""
    try:
        body = jiter.from_json(raw, catch_duplicate_keys=True)
    except ValueError as error:
        raise BadRequest(f"The request body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("The request body is not a JSON object.")
    return body


def most_written(body: Mapping[str, Any], own: int) -> int:
    """Tokens of output that a try may have: each fallback may say how many it takes in the place of the body's `own`.
    """
    entries = body.get("fallbacks")
    others = [entry.get("max_tokens") for entry in (entries if isinstance(entries, list) else ())
              if isinstance(entry, dict)]
    return min(MOST_WRITTEN, max([own, *[most for most in others if type(most) is int]]))


def unbounded(body: Mapping[str, Any]) -> str | None:
    """What makes Claude take turns of its own, if anything does."""
    if named := next((name for name in OF_CLAUDE if body.get(name)), None):
        return named
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and not kind.startswith(OF_CLIENTS):
            return f"the tool {kind[:100]}"
    return None
