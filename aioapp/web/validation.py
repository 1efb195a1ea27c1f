"""What a caller sends as values: decoded, held against a schema, and refused in rows that stay few and short."""
import asyncio
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import jiter
from marshmallow import Schema, ValidationError, missing

from aioapp.errors import ValidationFailed
from aioapp.web.fields import MOST_PROBLEMS
from aioapp.web.schemas import Body

MOST_VALUES = 10_000
"""Of commas, of lists, of objects and of texts in a body: every value begins with one of them or comes after one."""
PIECE = 2**16
"""Bytes that are looked through at a time."""
LARGE = 2**16
"""Bytes of a body. What is done with more takes milliseconds."""
LONGEST_NAME = 100
"""Characters of a field's name that a row tells; no field of ours has a longer one."""


def decoded(raw: bytes) -> Any:
    """The JSON value of a request's bytes. Raises `ValidationFailed` where they are none; NaN is no number.

    A parser may set limits (RFC 8259 §9): ours are the depth of nesting, and the number of values.
    """
    if len(raw) > MOST_VALUES and has_many_values(raw):
        raise ValidationFailed([row(["body"], f"value_error.jsondecode|more than {MOST_VALUES} values")])
    try:
        return jiter.from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise ValidationFailed([row(["body"], f"value_error.jsondecode|{error}")]) from None


def has_many_values(raw: bytes, *, most: int = MOST_VALUES) -> bool:
    """Whether JSON holds too many values to make them all. What looks like one inside a text is none.

    It is looked at piece by piece: where a thread does it, others have their turn between two.
    """
    pieces = (raw[start:start + PIECE] for start in range(0, len(raw), PIECE))
    return has_many(b",[{", pieces, most=most) and has_many(b',[{"', outside_texts(raw), most=most)


def has_many(separators: bytes, pieces: Iterable[bytes], *, most: int) -> bool:
    counts = dict.fromkeys(separators, 0)
    for piece in pieces:
        for separator in counts:
            counts[separator] += piece.count(separator)
        if max(counts.values()) > most:
            return True
    return False


def outside_texts(raw: bytes) -> Iterator[bytes]:
    """JSON without what is written in its texts: of each, a quotation mark is left."""
    start, inside = 0, False
    while start < len(raw):
        piece = raw[start:start + PIECE]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # it ends within an escape
            piece = raw[start:start + PIECE + 1]
        start += len(piece)
        parts = piece.replace(rb"\\", b"").replace(rb'\"', b"").split(b'"')
        yield b"".join(parts[inside::2]) + b'"' * ((len(parts) - inside) // 2)
        inside ^= len(parts) % 2 == 0


async def give_way(raw: bytes) -> None:
    """Let others have their turn, between two parts of the work that a large body makes."""
    if len(raw) > LARGE:
        await asyncio.sleep(0)


def loaded(schema: Schema, value: Any, *, where: str = "body") -> dict[str, Any]:
    """`value` as `schema` has it, null and absent being the same. Raises `ValidationFailed` with a row a problem.

    `where` the value stood is the first part of each row's `loc`.
    """
    if isinstance(schema, Body) and schema.quick is not None and (plain := schema.quick(value)) is not None:
        return plain
    body = patch_of(schema, value, where=where)
    defaults = {name: schema.fields[name].load_default for name, given in body.items() if given is None}
    return {name: given for name, given in (body | defaults).items() if given is not None and given is not missing}


def patch_of(schema: Schema, value: Any, *, where: str = "body") -> dict[str, Any]:
    """As `loaded`, but null stays null: in a merge patch (RFC 7396), what is absent stays as it is, and null lifts."""
    try:
        body: dict[str, Any] = schema.load(value)
    except ValidationError as error:
        raise ValidationFailed(first(rows(normalized(error), [where]), where=where)) from None
    return body


def normalized(error: ValidationError) -> Mapping[Any, Any]:
    messages: Mapping[Any, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]  # it has no hints
    return messages


def first(problems: Iterable[dict[str, Any]], *, where: str) -> list[dict[str, Any]]:
    """Those that are told: the first ones, and a last row where there are more."""
    told = list(islice(problems, MOST_PROBLEMS + 1))
    if len(told) > MOST_PROBLEMS:
        told[-1] = row([where], f"value_error.more|there are more problems than these {MOST_PROBLEMS}")
    return told


def rows(messages: Mapping[Any, Any], loc: list[str | int]) -> Iterator[dict[str, Any]]:
    for key, below in messages.items():
        here = loc if key == "_schema" else [*loc, key if isinstance(key, int) else shortened(key)]
        if isinstance(below, Mapping):
            yield from rows(below, here)
        else:
            yield from (row(here, message) for message in below)


def row(loc: list[str | int], message: str) -> dict[str, Any]:
    code, found, said = message.partition("|")
    return {"loc": loc, "msg": said if found else message, "type": code if found else "value_error"}


def shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
