"""What a caller's frame on a WebSocket says, and what is under way for it."""
import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType

from aioapp import errors
from aioapp.generation import Generation
from aioapp.web.operations.operation import Operation
from aioapp.web.bounds import INTRODUCTION, LARGEST_INTRODUCTION
from aioapp.web.validation import decoded, row


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketRequest:
    """What a frame asks: to take `key` as the caller's, to cancel what runs under `id`, or to answer `operation`."""

    id: str | None = None
    key: str | None = None
    cancel: bool = False
    stream: bool = False
    operation: Operation | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Run:
    """A generation under way. Once `ended`, its last frame is on its way and nothing can stop it.

    `status` is that of its last frame, as HTTP would have it; there is no `generation` before Claude is asked.
    """

    id: str | None
    task: asyncio.Task[None] | None = None
    cancelled: bool = False
    ended: bool = False
    status: int | None = None
    generation: Generation | None = None


Understand = Callable[[Mapping[str, Any]], SocketRequest]

LONGEST_ID = 128
"""Characters."""


def read(kind: WSMsgType, data: bytes) -> dict[str, Any]:
    """The JSON object in a frame. Raises `ValidationFailed`."""
    if kind is not WSMsgType.TEXT:
        raise errors.ValidationFailed([row(["body"], "type_error.text|send JSON in a text frame, not binary")])
    value = decoded(data)
    if not isinstance(value, dict):
        raise errors.ValidationFailed([row(["body"], "type_error.dict|value is not a valid dict")])
    return value


def read_first(kind: WSMsgType, data: bytes) -> dict[str, Any]:
    """The frame in which a caller whom nobody knows yet shows its key. Raises `ValidationFailed` or `Unauthorized`.

    More than a key needs is not looked at: whoever may not ask anything must not make us work.
    """
    if len(data) > LARGEST_INTRODUCTION:
        raise errors.Unauthorized(f"{INTRODUCTION} It has at most {LARGEST_INTRODUCTION} bytes.")
    frame = read(kind, data)
    if frame.get("type") != "auth":
        raise errors.Unauthorized(INTRODUCTION)
    return frame


def id_of(frame: object) -> str | None:
    """The id of a frame that may be wrong in any way, so that even its error can be told apart."""
    match frame:
        case {"id": str(id)} if len(id) <= LONGEST_ID:
            return id
    return None
