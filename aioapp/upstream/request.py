"""What goes to the Messages API beside a prompt's body (https://platform.claude.com/docs/en/api/messages)."""
from collections.abc import Mapping

from aioapp.messages.prompt import Prompt


def headers(prompt: Prompt, credentials: Mapping[str, str]) -> dict[str, str]:
    return {**credentials, "Content-Type": "application/json", **prompt.headers()}
