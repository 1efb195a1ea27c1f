"""Claude over HTTP: what is retried and what is not, and what every way of failing comes to."""
import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from aioapp import errors
from aioapp.credentials import fixed
from aioapp.generation import Call, call_for
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.messages.events import Event
from aioapp.messages.fold import fold
from aioapp.upstream.claude import Claude
from aioapp.upstream.retries import Retries
from aioapp.upstream.session import open_transport
from tests.test_messages_event_parser import apart
from tests.upstreams import (
    BLOCK, END, MESSAGE, START, Connection, Script, Upstream, delta, frame, stream_of, upstream, whole,
)

ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def failing(status: int, message: str = "said Claude", **headers: str) -> Script:
    async def script(connection: Connection) -> None:
        body = {"type": "error", "error": {"type": "some_error", "message": message}}
        await connection.answer(status, json.dumps(body).encode(), **headers)

    return script


async def cut_before_a_byte(connection: Connection) -> None:
    connection.cut()


async def never(connection: Connection) -> None:
    await connection.gone.wait()


def streaming(*chunks: bytes, then: Callable[[Connection], Awaitable[None]] | None = None) -> Script:
    """Begin a stream with `chunks`, and end it well unless `then` does something else."""
    async def script(connection: Connection) -> None:
        await connection.begin()
        for chunk in chunks:
            await connection.chunk(chunk)
        await (then(connection) if then else connection.finish())

    return script


class Waits:
    """A sleep that remembers for how long it was asked to, and takes no time."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)


@asynccontextmanager
async def claude(
        server: Upstream, waits: Waits | None = None, *, idle: float = 5.0, connect: float = 5.0, chance: float = 0.0,
) -> AsyncIterator[Claude]:
    async with open_transport(server.url, connections=10, timeout=connect) as transport:
        yield Claude(
            transport=transport, credentials=fixed("k", "test"),
            retries=Retries(sleep=(waits or Waits()).sleep, chance=lambda: chance), idle_timeout=idle)


def call(*, live: bool = True, seconds: float = 30.0, **prompt: Any) -> Call:
    asked = TextPrompt(messages=(Turn("user", "Hi"),), max_tokens=5, **{"model": "claude-sonnet-5-5", **prompt})
    return call_for(asked, live=live, deadline=asyncio.get_running_loop().time() + seconds)


async def told(claude: Claude, asked: Call) -> list[Event]:
    async with aclosing(claude.generate(asked)) as batches:
        return [event async for batch in batches for event in batch]


async def test_a_stream_is_passed_on_event_by_event_byte_for_byte() -> None:
    odd = b'event: from_the_future\ndata: {"type": "from_the_future", "x": "\xc3\xa9"}  \n\n'
    async with upstream(streaming(START, BLOCK + odd + delta("a")[:9], delta("a")[9:] + END)) as server:
        async with claude(server) as client:
            events = await told(client, call())
    assert [event.name for event in events] == [
        "message_start", "content_block_start", "from_the_future", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop"]
    assert events[2].raw == b'{"type": "from_the_future", "x": "\xc3\xa9"}  '
    assert fold(events).text == "a"


async def test_events_that_arrive_together_come_in_one_batch() -> None:
    async with upstream(streaming(stream_of(*["x"] * 50))) as server, claude(server) as client:
        async with aclosing(client.generate(call())) as batches:
            events = [batch async for batch in batches]
    assert len(apart([event for batch in events for event in batch])) == 55
    assert len(events) < 10


async def test_an_answer_in_one_piece_is_one_event() -> None:
    async with upstream(whole) as server, claude(server) as client:
        events = await told(client, call(live=False))
    assert events == [Event("message", json.dumps(MESSAGE).encode())]


@pytest.mark.parametrize(("script", "error"), [
    (streaming(START, BLOCK, delta("a"), then=lambda connection: cut_before_a_byte(connection)), errors.UpstreamFailed),
    (streaming(START, BLOCK, delta("a")), errors.UpstreamFailed),
    (streaming(START, BLOCK, delta("a"), frame("error", error=ERROR["error"])), errors.Overloaded),
    (streaming(START, frame("error", error="?")), errors.UpstreamFailed),
    (streaming(START, b"event: error\ndata: {\n\n"), errors.UpstreamFailed),
    (streaming(delta("a")), errors.UpstreamFailed),
    (streaming(), errors.UpstreamFailed),
    (streaming(frame("ping")), errors.UpstreamFailed),
], ids=["cut", "EOF without message_stop", "error event", "odd error event", "broken error event",
        "no message_start", "nothing", "only a ping"])
async def test_a_stream_that_breaks_is_a_clear_failure_and_never_tried_again(
        script: Script, error: type[errors.AppError]) -> None:
    async with upstream(script) as server, claude(server) as client:
        with pytest.raises(error):
            await told(client, call())
        assert len(server.seen) == 1


async def test_what_came_before_an_error_event_in_the_same_read_is_not_lost() -> None:
    async with upstream(streaming(START + BLOCK + delta("a") + frame("error", error=ERROR["error"]))) as server:
        async with claude(server) as client, aclosing(client.generate(call())) as batches:
            assert [event.name for event in await anext(batches)][-1] == "content_block_delta"
            with pytest.raises(errors.Overloaded):
                await anext(batches)


@pytest.mark.parametrize("behind", [
    delta("out of place").replace(b"content_block_delta", b"message_start"), b"data: " + b"x" * 2**24 + b"y",
], ids=["an event that cannot come here", "a frame without an end"])
async def test_what_came_before_nonsense_in_the_same_read_is_not_lost(behind: bytes) -> None:
    async with upstream(streaming(START + BLOCK + delta("a") + behind)) as server, claude(server) as client:
        seen: list[str] = []
        with pytest.raises(errors.UpstreamFailed):
            async with aclosing(client.generate(call())) as batches:
                async for batch in batches:
                    seen += [event.name for event in batch]
    assert seen == ["message_start", "content_block_start", "content_block_delta"]


@pytest.mark.parametrize("missing", [1, 2, 3], ids=["half a blank line", "the blank line", "a line"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=repr)
async def test_a_stream_ends_well_whatever_its_line_ends_and_however_its_last_one(
        line_end: bytes, missing: int) -> None:
    said = stream_of("a", "b").replace(b"\n", line_end)
    async with upstream(streaming(said[:-missing + 1] if missing > 1 else said)) as server, claude(server) as client:
        assert fold(await told(client, call())).text == "ab"


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "anything"])
async def test_a_packed_answer_is_refused_and_not_unpacked(encoding: str, live: bool) -> None:
    packed = gzip.compress(bytes(2**26))

    async def script(connection: Connection) -> None:
        kind = "text/event-stream" if live else "application/json"
        await connection.answer(200, packed, kind, Content_Encoding=encoding)

    async with upstream(script) as server, claude(server) as client:
        began = time.thread_time()
        with pytest.raises(errors.UpstreamFailed, match="compressed"):
            await told(client, call(live=live))
    assert time.thread_time() - began < 0.1


async def test_a_packed_error_keeps_its_status_and_is_not_unpacked() -> None:
    async def script(connection: Connection) -> None:
        await connection.answer(400, gzip.compress(json.dumps(ERROR).encode()), Content_Encoding="gzip")

    async with upstream(script) as server, claude(server) as client:
        with pytest.raises(errors.BadRequest) as failed:
            await told(client, call())
    assert failed.value.detail is None


@pytest.mark.parametrize("live", [True, False])
async def test_an_answer_without_an_end_is_read_so_far_and_no_further(live: bool) -> None:
    sent = 0

    async def script(connection: Connection) -> None:
        nonlocal sent
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: %b\r\n\r\n" % (
            b"text/event-stream" if live else b"application/json"))
        await connection.chunk(START + BLOCK if live else b'{"content":"')
        while True:
            await connection.chunk(delta("x" * 10**6) if live else b"x" * 10**6)
            sent += 10**6

    async with upstream(script) as server, claude(server) as client:
        with pytest.raises(errors.UpstreamFailed, match="larger than 32 MiB"):
            await told(client, call(live=live))
    assert 33_000_000 < sent < 46_000_000  # what the kernel holds on both sides included


async def test_what_follows_the_last_event_is_read_so_far_and_its_connection_is_not_used_again() -> None:
    sent = 0

    async def script(connection: Connection) -> None:
        nonlocal sent
        await connection.begin()
        await connection.chunk(stream_of("a"))
        while True:
            await connection.chunk(bytes(10**5))
            sent += 10**5

    async with upstream(script, whole) as server, claude(server) as client:
        assert fold(await told(client, call())).text == "a"
        assert fold(await told(client, call())).text == "Hello, wörld"
        assert server.connections == 2
    assert sent < 10**7


async def test_silence_is_no_reason_to_ask_again() -> None:
    async def hanging(connection: Connection) -> None:
        await connection.gone.wait()

    waits = Waits()
    async with upstream(hanging) as server, claude(server, waits, idle=0.05) as client:
        with pytest.raises(errors.UpstreamTimeout):
            await told(client, call())
        assert (len(server.seen), waits.asked) == (1, [])


async def test_silence_between_two_reads_of_a_stream_is_bounded() -> None:
    async with upstream(streaming(START, then=never)) as server, claude(server, idle=0.05) as client:
        with pytest.raises(errors.UpstreamTimeout):
            await told(client, call())


async def test_an_answer_in_one_piece_may_be_silent_longer_than_a_stream() -> None:
    async def slow(connection: Connection) -> None:
        await asyncio.sleep(0.15)
        await whole(connection)

    async with upstream(slow) as server, claude(server, idle=0.05) as client:
        assert len(await told(client, call(live=False))) == 1


@pytest.mark.parametrize(("status", "error", "detail"), [
    (400, errors.BadRequest, "said Claude"),
    (401, errors.CredentialsRefused, None),
    (402, errors.Unavailable, "Claude's account has a billing problem."),
    (403, errors.CredentialsRefused, None),
    (404, errors.BadRequest, "said Claude"),
    (413, errors.RequestTooLarge, "said Claude"),
    (418, errors.UpstreamFailed, "Claude answered with status 418."),
    (302, errors.UpstreamFailed, "Claude answered with status 302."),
    (201, errors.UpstreamFailed, "Claude answered with status 201."),
])
async def test_a_lasting_refusal_is_told_at_once(
        status: int, error: type[errors.AppError], detail: str | None) -> None:
    async with upstream(failing(status)) as server, claude(server) as client:
        with pytest.raises(error) as failed:
            await told(client, call())
        assert type(failed.value) is error
        assert failed.value.detail == detail
        assert len(server.seen) == 1


@pytest.mark.parametrize(("script", "error"), [
    (failing(408), errors.UpstreamFailed),
    (failing(409), errors.UpstreamFailed),
    (failing(429), errors.RateLimited),
    (failing(500), errors.UpstreamFailed),
    (failing(503), errors.Overloaded),
    (failing(529), errors.Overloaded),
    (cut_before_a_byte, errors.UpstreamFailed),
], ids=["408", "409", "429", "500", "503", "529", "cut"])
async def test_a_passing_failure_is_tried_again_twice_and_then_told(
        script: Script, error: type[errors.AppError]) -> None:
    waits = Waits()
    async with upstream(script) as server, claude(server, waits) as client:
        with pytest.raises(error):
            await told(client, call())
        assert server.connections and len(server.seen) == 3
    assert waits.asked == [0.5, 1.0]


async def test_a_second_try_that_is_answered_is_the_answer() -> None:
    async with upstream(failing(529), cut_before_a_byte, whole) as server, claude(server) as client:
        assert fold(await told(client, call())).text == "Hello, wörld"


async def test_waits_are_jittered_by_up_to_a_half() -> None:
    waits = Waits()
    async with upstream(failing(500)) as server, claude(server, waits, chance=1.0) as client:
        with pytest.raises(errors.UpstreamFailed):
            await told(client, call())
    assert waits.asked == [0.25, 0.5]


async def test_claude_says_how_long_to_wait_and_is_obeyed() -> None:
    waits = Waits()
    async with upstream(failing(429, retry_after="3"), whole) as server, claude(server, waits) as client:
        await told(client, call())
    assert waits.asked == [3.0]


@pytest.mark.parametrize(("asked", "left"), [("9", 60.0), ("3600", 60.0), ("3", 2.0)])
async def test_a_wait_too_long_for_the_caller_is_not_begun(asked: str, left: float) -> None:
    waits = Waits()
    async with upstream(failing(429, retry_after=asked)) as server, claude(server, waits) as client:
        with pytest.raises(errors.RateLimited) as failed:
            await told(client, call(seconds=left))
    assert (waits.asked, failed.value.retry_after) == ([], int(asked))


@pytest.mark.parametrize(("value", "seconds"), [
    ("7", 7), ("0", 1), ("soon", None), ("-3", None), ("1.5", 2), ("0.2", 1), ("9" * 400, 3600), ("", None),
    ("Tue, 24 Nov 2026 12:00:30 GMT", 30), ("Tuesday, 24-Nov-26 12:00:30 GMT", 30),
    ("Tue, 24 Nov 2026 11:00:00 GMT", 1), ("Fri, 24 Nov 2028 12:00:00 GMT", 3600),
    ("Tue, 99 Nov 2026 12:00:00 GMT", None)])
async def test_of_any_retry_after_a_sane_number_of_seconds_is_passed_on(value: str, seconds: int | None) -> None:
    script = failing(429, retry_after=value, x_should_retry="false", date="Tue, 24 Nov 2026 12:00:00 GMT")
    async with upstream(script) as server, claude(server) as client:
        with pytest.raises(errors.RateLimited) as failed:
            await told(client, call())
    assert failed.value.retry_after == seconds


async def test_an_overload_always_says_when_to_come_back() -> None:
    async with upstream(failing(529, x_should_retry="false")) as server, claude(server) as client:
        with pytest.raises(errors.Overloaded) as failed:
            await told(client, call())
    assert failed.value.retry_after == 5


@pytest.mark.parametrize(("status", "word", "tries"), [(500, "false", 1), (400, "true", 3)])
async def test_claudes_word_on_retrying_goes_before_the_status(status: int, word: str, tries: int) -> None:
    async with upstream(failing(status, x_should_retry=word)) as server, claude(server) as client:
        with pytest.raises(errors.AppError):
            await told(client, call())
        assert len(server.seen) == tries


async def test_an_upstream_that_is_not_there_is_a_bad_gateway_without_its_address() -> None:
    async with upstream(whole) as server:
        pass
    async with claude(server) as client:
        with pytest.raises(errors.UpstreamFailed) as failed:
            await told(client, call())
    assert str(failed.value) == "Claude could not be reached."


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream"])
async def test_an_answer_that_is_neither_json_nor_events_is_nonsense(content_type: str) -> None:
    async def page(connection: Connection) -> None:
        await connection.answer(200, b"<html>Sign in to the hotel's network</html>", content_type)

    async with upstream(page) as server, claude(server) as client:
        with pytest.raises(errors.UpstreamFailed):
            await told(client, call())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"error": {}}', b'{"error": {"message": 5}}', b"\xff" * 200_000])
async def test_an_error_in_an_odd_shape_keeps_its_status(body: bytes) -> None:
    async def odd(connection: Connection) -> None:
        await connection.answer(400, body)

    async with upstream(odd) as server, claude(server) as client:
        with pytest.raises(errors.BadRequest) as failed:
            await told(client, call())
    assert failed.value.detail is None


@pytest.mark.parametrize("live", [True, False])
async def test_closing_the_generation_hangs_up_on_claude(live: bool) -> None:
    script = streaming(START + BLOCK + delta("a"), then=never) if live else never
    async with upstream(script) as server, claude(server) as client:
        generation = client.generate(call(live=live))
        first = asyncio.create_task(anext(generation, None))
        while not server.seen:
            await asyncio.sleep(0.001)
        if live:
            await first
            await generation.aclose()
        else:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(2):
            await server.seen[0].gone.wait()


@pytest.mark.parametrize("live", [True, False])
async def test_a_connection_read_to_its_end_is_used_again(live: bool) -> None:
    async with upstream(whole) as server, claude(server) as client:
        for _ in range(5):
            await told(client, call(live=live))
        assert (server.connections, len(server.seen)) == (1, 5)


async def test_a_stream_that_lingers_after_its_last_event_does_not_keep_the_caller() -> None:
    async with upstream(streaming(stream_of("a"), then=never)) as server, claude(server, idle=60.0) as client:
        async with asyncio.timeout(5):
            assert fold(await told(client, call())).text == "a"


class Rotating:
    """Credentials whose first token Claude does not take."""

    base_url = None

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.accepts = tokens, 0

    def status(self) -> Any:
        raise NotImplementedError

    async def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[0]}"}

    def refused(self, headers: Any) -> bool:
        assert headers["Authorization"].endswith(self.tokens[0])
        return bool(self.tokens.pop(0)) and bool(self.tokens)

    def accepted(self) -> None:
        self.accepts += 1


async def test_refused_credentials_that_can_be_renewed_get_another_try() -> None:
    credentials = Rotating(["old", "new"])
    async with (upstream(failing(401), whole) as server,
                open_transport(server.url, connections=1, timeout=5) as transport):
        client = Claude(transport=transport, credentials=credentials, idle_timeout=5,
                        retries=Retries(sleep=Waits().sleep))
        assert len(await told(client, call(live=False))) == 1
    assert [connection.headers["authorization"] for connection in server.seen] == ["Bearer old", "Bearer new"]
    assert credentials.accepts == 1
