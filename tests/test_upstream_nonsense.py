"""Streams that went wrong, as a caller sees them: an answer, or a failure of Claude's, never one of ours."""
import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioapp.app import create_app
from aioapp.credentials import fixed
from aioapp.settings import Settings
from tests.conftest import start
from tests.test_sse import decoded
from tests.upstreams import MESSAGE, Connection, upstream

Payload = dict[str, Any]
CALLED = {"type": "tool_use", "id": "t", "name": "n", "input": {}}
SOUND: list[tuple[str, Any]] = [
    ("message_start", {"message": {**MESSAGE, "content": [], "stop_reason": None}}),
    ("content_block_start", {"index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "signature_delta", "signature": "s"}}),
    ("content_block_stop", {"index": 0}),
    ("content_block_start", {"index": 1, "content_block": {"type": "text", "text": "", "citations": None}}),
    ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": "Hello"}}),
    ("content_block_delta", {"index": 1, "delta": {"type": "citations_delta", "citation": {"cited_text": "x"}}}),
    ("content_block_stop", {"index": 1}),
    ("content_block_start", {"index": 2, "content_block": CALLED}),
    ("content_block_delta", {"index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}}),
    ("content_block_stop", {"index": 2}),
    ("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 5}}),
    ("message_stop", {}),
]
NAMES = [*[name for name, _ in SOUND], "ping", "error", "message", "from_the_future"]
NESTED: Any = []
for _ in range(150):
    NESTED = [NESTED]
ODD = st.one_of(
    st.sampled_from([10**30, -10**30, -1, 0, 1, 2, 3, 2**63, 1.5, 0.0, 1e308, True, False, None, "", "text",
                     "1", "\x00", [], {}, [[]], [{}], {"type": "text"}, {"type": []}, {"text": "x", "type": "text"},
                     NESTED]),
    st.text(st.characters(codec="utf-8"), max_size=3))
RAW = st.sampled_from([b"", b"{", b"[]", b"5", b"null", b"\xff", b'"\\ud800"', b"[" * 5000,
                       b'{"index": ' + b"9" * 5000 + b"}",
                       b'{"index": NaN}', b'{"index": 1e999, "delta": {}}'])


def places(value: Any) -> list[tuple[Any, ...]]:
    """Every place in a payload, by the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *[(key, *place) for key, part in inner for place in places(part)]]


def changed(value: Any, place: Sequence[Any], odd: Any) -> Any:
    """The payload with `odd` in a place of it; `...` leaves the place out."""
    if not place:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    if odd is ... and len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = changed(copy[place[0]], place[1:], odd)
    return copy


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A stream with one to three events doubled, left out, moved, renamed, or with something odd in them."""
    events: list[tuple[str, Any]] = list(SOUND)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(events) - 1))
        name, payload = events[at]
        match draw(st.sampled_from(["odd", "odd", "odd", "odd", "raw", "double", "drop", "move", "rename"])):
            case "odd" if not isinstance(payload, bytes):
                place = draw(st.sampled_from(places(payload)))
                events[at] = name, changed(payload, place, draw(ODD if not place else ODD | st.just(...)))
            case "raw":
                events[at] = name, draw(RAW)
            case "double":
                events.insert(at, events[at])
            case "drop" if len(events) > 1:
                del events[at]
            case "move":
                events.insert(draw(st.integers(0, len(events) - 1)), events.pop(at))
            case "rename":
                events[at] = draw(st.sampled_from(NAMES)), payload
    return b"".join(framed(name, payload) for name, payload in events)


def framed(name: str, payload: Any) -> bytes:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return b"event: %b\ndata: %b\n\n" % (name.encode(), raw)


def outcome(status: int, body: str) -> str:
    """How an answer ended, whatever its form; a failure by its title."""
    if status != 200:
        return str(json.loads(body)["error"])
    name, data = decoded(body)[-1]
    return str(json.loads(data)["error"]) if name == "error" else "done"


Ask = Callable[[str], Coroutine[None, None, tuple[int, str]]]


async def asking(stack: AsyncExitStack, streams: list[bytes]) -> Ask:
    """Asks a server, in either format, whose Claude answers by the last of `streams`."""
    async def script(connection: Connection) -> None:
        await connection.stream(streams[-1])

    claude = await stack.enter_async_context(upstream(script))
    url = await start(create_app(Settings(base_url=claude.url), credentials=fixed("k", "test")), stack)
    http = await stack.enter_async_context(aiohttp.ClientSession())

    async def ask(form: str) -> tuple[int, str]:
        async with http.post(f"{url}/api/stream", json={"prompt": "Hi", "format": form}) as response:
            return response.status, await response.text()

    return ask


def test_whatever_a_stream_says_it_is_an_answer_or_a_failure_of_claudes_and_both_formats_agree() -> None:
    streams: list[bytes] = []
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        ask = runner.run(asking(stack, streams))

        @given(mutated())
        @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def holds(stream: bytes) -> None:
            streams.append(stream)
            answers = [runner.run(ask(form)) for form in ("text", "events")]
            outcomes = {outcome(status, body) for status, body in answers}
            assert {status for status, _ in answers} <= {200, 502}
            assert outcomes in ({"done"}, {"Claude's answer could not be used"})
            assert answers[0][1].endswith("data: [DONE]\n\n") is (outcomes == {"done"})

        try:
            holds()
        finally:
            runner.run(stack.aclose())
