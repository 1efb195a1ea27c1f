"""Claude's answers as they came: bytes that are looked at and never changed, and refusals in Claude's own words."""
import asyncio
from collections.abc import AsyncGenerator, Mapping

import jiter

from aioapp.errors import AppError, Said, UpstreamFailed
from aioapp.generation import Batch
from aioapp.messages.events import Whole
from aioapp.messages.frames import Frames, FrameSplitter
from aioapp.upstream import error_mapping
from aioapp.upstream.stream import LARGEST_ANSWER, LINGER, TOO_LARGE, is_plain, read_whole
from aioapp.upstream.transport import Response

PASSED_ON = frozenset({"content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry"})
OF_THE_ACCOUNT = ("anthropic-organization-id", "anthropic-workspace-id", "anthropic-ratelimit-")
"""Whose account this is, and what is left of it, is no business of whoever holds one of our keys."""
NOTHING = "Claude's answer is empty."
ERRORS = range(400, 600)
"""Statuses that say what was wrong. Others are none of Claude's, and clients make of them what they like."""


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Of the headers of an answer, those that its caller gets."""
    return {name: value for name, value in headers.items() if name in PASSED_ON or (
        name.startswith("anthropic-") and not name.startswith(OF_THE_ACCOUNT))}


def in_words(error: AppError, response: Response, *, body: bytes) -> AppError:
    """The error with what Claude said. Its 401 is about our credentials, and what is no JSON is not Claude's."""
    if is_json(response) and response.status in ERRORS and response.status != 401 and is_whole(body):
        error.said = Said(response.status, passed_on(response.headers), body)
    return error


def is_json(response: Response) -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" and is_plain(response)


def is_whole(body: bytes) -> bool:
    """Whether all of an error's body was read, and the connection did not break in it."""
    try:
        jiter.from_json(body)
    except ValueError:
        return False
    return True


async def whole(response: Response) -> AsyncGenerator[Batch, None]:
    """The answer in one batch. Raises `UpstreamFailed` where it is too large, or nothing."""
    body = await read_whole(response)
    if not body:
        raise UpstreamFailed(NOTHING)
    yield Frames(body, events=[Whole("message", body)])


async def framed(response: Response) -> AsyncGenerator[Batch, None]:
    """A stream, read by read, each as far as its frames are whole.

    Where Claude tells an error in the middle of it, that is passed on like all else, and raised in the end.
    """
    splitter, left, failure = FrameSplitter(), LARGEST_ANSWER, None
    while data := await (response.read() if failure is None else soon(response)):
        if wire := splitter.feed(data):
            batch = Frames(wire)
            yield batch
            failure = failure or failure_in(batch)
        left -= len(data)
        if left < 0:
            raise UpstreamFailed(TOO_LARGE)
    if wire := splitter.end():
        batch = Frames(wire)
        yield batch
        failure = failure or failure_in(batch)
    if failure is not None:
        raise failure
    if left == LARGEST_ANSWER:
        raise UpstreamFailed(NOTHING)


async def soon(response: Response) -> bytes:
    """What comes behind an error, if it comes at once."""
    try:
        async with asyncio.timeout(LINGER):
            return await response.read()
    except TimeoutError:
        return b""


def failure_in(batch: Frames) -> AppError | None:
    """The error that an event of the batch tells."""
    event = next((event for event in batch if event.name == "error"), None)
    if event is None:
        return None
    failure = error_mapping.of_event(event)
    failure.said = Said(200, {}, event.raw)
    return failure
