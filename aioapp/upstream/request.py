"""A prompt as the Messages API wants it (https://platform.claude.com/docs/en/api/messages)."""
import json
from collections.abc import Mapping
from typing import Any

from aioapp.messages.prompt import Prompt

JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""As short as it can be: escapes would make six bytes of a letter that has two."""
VERSION = "2026-10-21"
VERSION_WITH_TEMPERATURE = "2023-06-01"
"""Since 2026-10-21 `temperature` is an error for every model; models up to 4.6 still take it under this version."""


def encode(prompt: Prompt, *, live: bool) -> bytes:
    """The body of `POST /v1/messages` for a fitted prompt, which names a model and asks nothing it does not take."""
    body: dict[str, Any] = {
        "model": prompt.model,
        "max_tokens": prompt.max_tokens,
        "messages": [{"role": turn.role, "content": turn.content} for turn in prompt.messages],
    }
    optional = {
        "system": prompt.system,
        "temperature": prompt.temperature,
        "stop_sequences": prompt.stop_sequences or None,
        "output_config": {"effort": prompt.effort} if prompt.effort else None,
        "thinking": {"type": prompt.thinking} if prompt.thinking else None,
        "stream": live or None,
    }
    body.update({name: value for name, value in optional.items() if value is not None})
    return JSON.encode(body).encode(errors="surrogatepass")  # a half of a character is Claude's to refuse


def headers(prompt: Prompt, credentials: Mapping[str, str]) -> dict[str, str]:
    version = VERSION if prompt.temperature is None else VERSION_WITH_TEMPERATURE
    return {**credentials, "Content-Type": "application/json", "anthropic-version": version}
