"""The blocks that turns are made of, as far as it must be known what they take: pictures and documents are no text."""
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PICTURE, MOST_PICTURE = 1600, 5000
"""Tokens of a picture: of one that has the size Claude brings it to, and at most."""
PAGE = 4000
"""Tokens of a page of a document, at most, its picture included."""
BYTES_A_PAGE = 40_000
MOST_PAGES = 600
"""Pages that Claude takes of one document."""
UNSEEN = 10
"""Pages that a document is guessed to have of which only the address is known."""
LONGEST_TEXT = 10_000
"""Characters of a prompt that are kept for records."""
DEEPEST = 3
"""Blocks within blocks that are looked into: what a tool gave back holds some."""


class Block(NamedTuple):
    """`tokens` as guessed and at most, and the bytes of base64 that stand for them in the body."""

    tokens: int
    most_tokens: int
    blob: int


def blocks_of(body: Mapping[str, Any]) -> Iterator[Block]:
    """The pictures and documents of all turns."""
    turns = body.get("messages")
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict):
            yield from media_in(turn.get("content"), depth=DEEPEST)


def media_in(content: object, *, depth: int) -> Iterator[Block]:
    if not isinstance(content, list) or not depth:
        return
    for block in content:
        match block:
            case {"type": "image", "source": dict(source)}:
                yield Block(PICTURE, MOST_PICTURE, blob_of(source))
            case {"type": "document", "source": {"type": "text" | "content" as kind, **source}}:
                yield from media_in(source.get("content"), depth=depth - 1) if kind == "content" else ()
            case {"type": "document", "source": dict(source)}:
                blob = blob_of(source)
                pages = min(MOST_PAGES, -(-blob // BYTES_A_PAGE)) if blob else UNSEEN
                yield Block(pages * PAGE, MOST_PAGES * PAGE, blob)
            case {"content": list(inner)}:
                yield from media_in(inner, depth=depth - 1)


def blob_of(source: Mapping[Any, Any]) -> int:
    """Bytes of base64. They are ASCII, or Claude refuses them."""
    data = source.get("data")
    return len(data) if source.get("type") == "base64" and isinstance(data, str) and data.isascii() else 0


def text_of(body: Mapping[str, Any]) -> str:
    """The texts of the last turn, cut: no pictures, whatever else it holds."""
    turns = body.get("messages")
    last = turns[-1] if isinstance(turns, list) and turns else None
    content = last.get("content") if isinstance(last, dict) else None
    if isinstance(content, str):
        return content[:LONGEST_TEXT]
    texts: list[str] = []
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text[:LONGEST_TEXT])
    return "\n".join(texts[:100])[:LONGEST_TEXT]
