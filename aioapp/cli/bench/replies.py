"""What a server says in the end: an answer, or what it ran into."""
import json

LONGEST_DETAIL = 200
"""Characters of what is said about a failure."""


class CallFailed(Exception):
    """A call that came to nothing: the kind of failure, by which it is counted, and what was said about it."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind)
        self.kind, self.detail = visible(kind), visible(detail)


def visible(text: str) -> str:
    """On one line, and without what would steer a terminal: servers that are not ours have said it."""
    return "".join(char if char.isprintable() else " " for char in text[:LONGEST_DETAIL])


def tokens_of(data: str | bytes | bytearray) -> int:
    """How many tokens the answer is. Raises `CallFailed` where it is none."""
    match parsed(data):
        case {"success": True, "usage": {"output_tokens": int(tokens)}}:
            return tokens
    raise problem(data)


def refused(status: int, data: bytes) -> CallFailed:
    """Why an HTTP request was."""
    failure = problem(data)
    return CallFailed(f"{status} {failure.kind}", failure.detail)


def problem(data: str | bytes | bytearray) -> CallFailed:
    """What an error object of aioapp says, or one of the Messages API."""
    match parsed(data):
        case {"error": str(title), **more}:
            return CallFailed(title, str(more.get("detail", "")))
        case {"error": {"type": str(title), "message": str(detail)}}:
            return CallFailed(title, detail)
        case {"detail": problems}:
            return CallFailed("Validation failed", str(problems))
    said = data if isinstance(data, str) else data[:4 * LONGEST_DETAIL].decode(errors="replace")
    return CallFailed("an answer of another kind", said)


def parsed(data: str | bytes | bytearray) -> object:
    """None where it is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
