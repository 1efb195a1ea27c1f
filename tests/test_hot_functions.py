"""What each hot function does, in instructions of Python's interpreter: a number that no neighbour changes.

The most that is written beside each may be lowered, and is not to be raised for nothing. Where there are two ways to
the same thing, the quick one is held against the plain one.
"""
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import pytest

from aioapp.callers import Budget, Caller, Limits, Spent
from aioapp.endpoints import OPERATIONS
from aioapp.messages.meter import Meter
from aioapp.messages.events import Event
from aioapp.messages.fold import Fold
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.store.embedded.board.board import PrivateBoard
from aioapp.store.embedded.limiter import Limiter
from aioapp.telemetry.metrics import Metrics
from aioapp.messages.event_parser import EventParser
from aioapp.usage.buffer import Pending
from aioapp.web.operations.socket_frames import deltas, encoded, text_frame
from aioapp.web.operations.sse import text_events
from tests.generations import ended
from tests.upstreams import BLOCK, START, delta

MANY = 100
DELTA = delta("word ")
RAW = DELTA.partition(b"data: ")[2].strip()
EVENTS = [Event("content_block_delta", RAW)] * MANY
RUN = EventParser().feed(DELTA * MANY)
WEB = Caller(name="web", known=True, budget=Budget(nanodollars=10**15, per="month"),
             limits=Limits(requests_per_minute=10**6, tokens_per_minute=10**9, concurrency=100))
PROMPT = TextPrompt(messages=(Turn("user", "Hi"),), max_tokens=500, model="claude-sonnet-5-5")


def instructions(work: Callable[[], object]) -> int:
    """Of the interpreter, once everything is warm; what is written in C counts as one."""
    counted = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal counted
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return trace

    for _ in range(3):
        work()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return counted


def folded() -> Fold:
    fold = Fold()
    fold.add_all(EventParser().feed(START + BLOCK + DELTA))
    return fold


def turn(limiter: Limiter) -> Callable[[], object]:
    """Admit, reserve, settle, and tell what is left: all that the limits do for a request."""
    limiter.admit(WEB)
    mark = limiter.mark()

    def work() -> object:
        limiter.admit(WEB)
        spent = Spent(at=datetime(2026, 11, 27, tzinfo=UTC), period="2026-11", nanodollars=0, mark=mark)
        limiter.reserve(WEB, 500, nanodollars=1000, spent=spent).settle(80, 100)
        return limiter.remaining(WEB)

    return work


SCHEMA = OPERATIONS[0].body()
BODY = {"prompt": "Explain async programming in Python", "max_tokens": 500}
TEXTS = ["word "] * MANY
FOLD, METER, LIMITER, PENDING, METRICS = folded(), Meter(), Limiter(PrivateBoard), Pending(), Metrics()
ENDED = ended(WEB, 100)

HOT: dict[str, tuple[int, Callable[[], object]]] = {
    "100 deltas read as events": (220, lambda: EventParser().feed(DELTA * MANY)),
    "100 deltas folded": (175, lambda: FOLD.add_all(RUN)),
    "100 deltas metered": (75, lambda: METER.see(RUN)),
    "100 pieces as events of text": (45, lambda: text_events(TEXTS)),
    "100 pieces as frames": (4500, lambda: b"".join(map(text_frame, deltas(TEXTS, "id")))),
    "a body loaded": (280, lambda: SCHEMA.quick and SCHEMA.quick(BODY)),
    "a prompt encoded": (215, lambda: PROMPT.body(live=True)),
    "the limits of a request": (2900, turn(LIMITER)),
    "a generation accounted for": (300, lambda: PENDING.add(ENDED, at="2026-11-27T00:00:00", model="m", prompt=None)),
    "a generation counted": (285, lambda: METRICS.generation(ENDED, model="m")),
}
"""What it is, the most instructions that it may take, and how it is done."""


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="each version of Python has instructions of its own")
@pytest.mark.parametrize("name", HOT)
def test_a_hot_function_takes_no_more_instructions_than_it_did(name: str) -> None:
    most, work = HOT[name]
    found = instructions(work)
    print(f"{name}: {found}")
    assert 0.7 * most < found <= most


PLAIN: dict[str, tuple[float, Callable[[], object]]] = {
    "100 deltas folded": (2.5, lambda: [FOLD.add(event) for event in EVENTS]),
    "100 pieces as frames": (2.5, lambda: [
        text_frame(encoded({"type": "delta", "text": text}, "id")) for text in TEXTS]),
    "a body loaded": (3.0, lambda: SCHEMA.load(BODY)),
}
"""The plain way to the same thing, and how many times as much work it is at least."""


@pytest.mark.parametrize("name", PLAIN)
def test_a_quick_way_is_worth_its_lines(name: str) -> None:
    times, plain = PLAIN[name]
    assert instructions(plain) >= times * instructions(HOT[name][1])
