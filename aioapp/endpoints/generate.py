"""One answer to one prompt."""
from collections.abc import Mapping
from typing import Any

from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.web.fields import text, whole
from aioapp.web.operations.operation import Operation, prompt_of
from aioapp.web.schemas import Options


class GenerateBody(Options):
    prompt = text(least=1, most=10_000, blank=False, required=True)
    max_tokens = whole(1, 8000, load_default=4096, description="Most tokens of the answer.")


def generate(body: Mapping[str, Any]) -> TextPrompt:
    return prompt_of(body, Turn("user", body["prompt"]))


GENERATE = Operation(
    name="generate",
    path="/api/generate",
    stream_path="/api/stream",
    summary="Answer a prompt",
    body=GenerateBody,
    prompt=generate,
    example={"prompt": "Explain async programming in Python", "max_tokens": 500},
)
