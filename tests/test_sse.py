"""Server-sent events: how they are framed, how they fail and how they end."""
import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from aioapp.app import create_app
from aioapp.credentials import fixed
from aioapp.generation import Batch, Call
from aioapp.settings import Settings
from aioapp.messages.event_parser import EventParser
from aioapp.web.event_stream import COMMENT, EventStream
from aioapp.web.operations.sse import text_event
from tests.conftest import Serve, start, with_services
from tests.upstreams import BLOCK, END, START, Connection, Flood, delta, frame, upstream, whole

ASK = {"prompt": "Hi"}
OVERLOADED = frame("error", error={"type": "overloaded_error", "message": "Overloaded"})


def decoded(body: str) -> list[tuple[str, str]]:
    """What a browser's EventSource makes of a body (HTML standard §9.2.6): (event, data) pairs."""
    events = []
    for block in body.split("\n\n"):
        fields = [line.partition(":") for line in block.split("\n") if line and not line.startswith(":")]
        data = [value.removeprefix(" ") for field, _, value in fields if field == "data"]
        names = [value.strip() for field, _, value in fields if field == "event"]
        if data:
            events.append((names[-1] if names else "message", "\n".join(data)))
    return events


async def post(http: aiohttp.ClientSession, url: str, **body: Any) -> tuple[aiohttp.ClientResponse, str]:
    async with http.post(f"{url}/api/stream", json={**ASK, **body}) as response:
        return response, await response.text()


async def test_each_piece_of_text_is_one_event_of_data_lines_and_done_is_last(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as claude:
        response, body = await post(http, await serve(claude.url))
    assert body == "data: Hello\n\ndata: , \n\ndata: wörld\n\ndata: [DONE]\n\n"
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize("text", [
    "plain", " leading", "trailing ", "two\nlines", "\n", "\n\n", "ends\n", "a\r\nb", "a\rb", "data: x", ": no comment",
    "event: error", "é😀\u2028\u0085", "\x00", "[DONE]", "x[DONE]y", "[DONE]\n", "\n[DONE]", "[DO[DONE]NE][DONE]",
    "[DONE]" * 2000])
def test_any_text_survives_its_framing_and_none_looks_like_the_end(text: str) -> None:
    framed = text_event(text).decode()
    events = decoded(framed)
    assert "".join(data for _, data in events) == text.replace("\r\n", "\n").replace("\r", "\n")
    assert all(name == "message" for name, _ in events)
    assert not any(line.removeprefix("data:").strip() == "[DONE]" for line in framed.split("\n"))


async def test_tokens_are_sent_as_they_arrive_and_never_collected_first(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    seen = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.begin()
        await connection.chunk(START + BLOCK + delta("first"))
        await seen.wait()
        await connection.chunk(delta("second") + END)
        await connection.finish()

    async with upstream(script) as claude:
        async with http.post(f"{await serve(claude.url)}/api/stream", json=ASK) as response:
            assert await response.content.readuntil(b"\n\n") == b"data: first\n\n"
            seen.set()
            assert await response.content.read() == b"data: second\n\ndata: [DONE]\n\n"


async def test_events_are_start_deltas_and_done_with_the_whole_answer(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as claude:
        _, body = await post(http, await serve(claude.url), format="events")
    events = [(name, json.loads(data)) for name, data in decoded(body)]
    assert [name for name, _ in events] == ["start", "delta", "delta", "delta", "done"]
    assert all(data["type"] == name for name, data in events)
    assert events[-1][1]["response"] == "Hello, wörld"
    assert events[0][1]["request_id"] == events[-1][1]["request_id"]


@pytest.mark.parametrize("format", ["text", "events"])
@pytest.mark.parametrize("before", [b"", START, START + BLOCK + frame("ping")])
async def test_trap_6_a_failure_before_the_first_piece_is_a_plain_http_error(
        serve: Serve, http: aiohttp.ClientSession, format: str, before: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.stream(*filter(None, [before, OVERLOADED]))

    async with upstream(script) as claude:
        response, body = await post(http, await serve(claude.url), format=format)
    assert response.status == 503
    assert response.headers["Content-Type"].startswith("application/json")
    assert response.headers["Retry-After"] == "5"
    assert json.loads(body)["error"] == "Claude is overloaded"


@pytest.mark.parametrize("format", ["text", "events"])
async def test_trap_5_a_failure_after_it_is_an_error_event_in_the_same_response_and_no_done(
        serve: Serve, http: aiohttp.ClientSession, format: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.stream(START + BLOCK + delta("some"), OVERLOADED)

    async with upstream(script) as claude:
        response, body = await post(http, await serve(claude.url), format=format)
    assert response.status == 200
    assert "HTTP/1.1" not in body and "[DONE]" not in body
    name, data = decoded(body)[-1]
    assert name == "error"
    assert json.loads(data)["error"] == "Claude is overloaded"
    assert json.loads(data)["request_id"] == response.headers["X-Request-ID"]


UNSOUND = (frame("content_block_stop", index=0)
           + frame("message_delta", delta={"stop_reason": 5}, usage={"output_tokens": 5}) + frame("message_stop"))


@pytest.mark.parametrize("format", ["text", "events"])
@pytest.mark.parametrize("broken", [
    UNSOUND, END.replace(b'"index": 0', b'"index": 10'), delta("x").replace(b'"index": 0', b'"index": 1') + END,
    BLOCK.replace(b'"index": 0', b'"index": 1' + b"0" * 30) + END,
], ids=["no reason", "no such block ends", "no such block goes on", "a block far away"])
async def test_a_message_that_is_none_ends_with_an_error_in_either_format_after_all_that_came_before(
        serve: Serve, http: aiohttp.ClientSession, format: str, broken: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.stream(START + BLOCK + delta("some") + broken)

    async with upstream(script) as claude:
        response, body = await post(http, await serve(claude.url), format=format)
    events = decoded(body)
    assert response.status == 200 and "[DONE]" not in body
    assert "some" in [events[0][1], json.loads(events[-2][1]).get("text") if format == "events" else ""]
    assert (events[-1][0], json.loads(events[-1][1])["error"]) == ("error", "Claude's answer could not be used")


async def test_a_fault_of_ours_in_the_middle_is_told_without_internals(
        stack: AsyncExitStack, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(call: Call) -> AsyncGenerator[Batch, None]:
        yield EventParser().feed(START + BLOCK + delta("some"))
        raise RuntimeError("canary internals")

    url = await start(create_app(Settings(), upstream=broken, credentials=fixed("k", "test")), stack)
    response, body = await post(http, url)
    assert response.status == 200
    name, data = decoded(body)[-1]
    assert (name, json.loads(data)["error"]) == ("error", "Internal server error")
    assert "canary" not in body and "canary internals" in caplog.text


@pytest.mark.parametrize("format", ["text", "events"])
async def test_trap_4_silence_is_filled_with_comments_and_nothing_is_lost(
        stack: AsyncExitStack, http: aiohttp.ClientSession, format: str) -> None:
    beats = asyncio.Semaphore(0)

    async def script(connection: Connection) -> None:
        await connection.begin()
        for chunk in (START + BLOCK, delta("one"), delta("two"), END):
            await beats.acquire()
            await connection.chunk(chunk)
        await connection.finish()

    async with upstream(script) as claude:
        app = create_app(Settings(base_url=claude.url), credentials=fixed("k", "test"))
        url = await start(with_services(app, heartbeat=0.02), stack)
        body = b""
        async with http.post(f"{url}/api/stream", json={**ASK, "format": format}) as response:
            async for data in response.content.iter_any():
                body += data
                if data.startswith(b":"):
                    beats.release()
    texts = [data if format == "text" else json.loads(data).get("text", "") for _, data in decoded(body.decode())]
    assert "".join(texts).removesuffix("[DONE]") == "onetwo"
    assert body.startswith(b": ")


@pytest.mark.parametrize("last", [False, True])
async def test_what_is_answered_waits_for_the_comment_that_is_on_its_way(last: bool) -> None:
    gate, written = asyncio.Event(), list[bytes]()

    async def write(data: bytes) -> None:
        written.append(data)

    response: Any = SimpleNamespace(prepared=True, write=write, write_eof=write)
    request: Any = SimpleNamespace(writer=SimpleNamespace(drain=gate.wait))
    stream = EventStream(request=request, response=response)
    stream.beating = asyncio.create_task(stream.beat())
    await asyncio.sleep(0)
    answering = asyncio.create_task(stream.end(b"more") if last else stream.send(b"more"))
    await asyncio.sleep(0.01)
    assert (written, stream.busy, answering.done()) == ([COMMENT], True, False)
    gate.set()
    await answering
    assert (written, stream.busy) == ([COMMENT, b"more"], False)


async def test_a_failure_after_a_heartbeat_is_an_error_event_for_the_response_is_under_way(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    beat = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.begin()
        await beat.wait()
        await connection.chunk(OVERLOADED)
        await connection.finish()

    async with upstream(script) as claude:
        app = create_app(Settings(base_url=claude.url), credentials=fixed("k", "test"))
        url = await start(with_services(app, heartbeat=0.02), stack)
        async with http.post(f"{url}/api/stream", json=ASK) as response:
            await response.content.readuntil(b"\n\n")
            beat.set()
            name, data = decoded((await response.content.read()).decode())[-1]
    assert (response.status, name, json.loads(data)["success"]) == (200, "error", False)


@pytest.mark.parametrize("path", ["/api/stream", "/api/generate", "/api/chat"])
async def test_trap_1_a_caller_who_hangs_up_stops_claude_at_once(
        serve: Serve, http: aiohttp.ClientSession, path: str) -> None:
    async def script(connection: Connection) -> None:
        if connection.body.get("stream"):
            await connection.begin()
            await connection.chunk(START + BLOCK + delta("some"))
        await connection.gone.wait()

    async with upstream(script) as claude:
        url = await serve(claude.url)
        body = {"message": "Hi"} if path == "/api/chat" else ASK
        asking = asyncio.create_task(http.post(f"{url}{path}", json=body))
        while not claude.seen:
            await asyncio.sleep(0.001)
        if path == "/api/stream":
            (await asking).close()
        else:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(2):
            await claude.seen[0].gone.wait()


async def test_a_caller_who_leaves_is_no_fault_of_ours(
        serve: Serve, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    async def script(connection: Connection) -> None:
        await connection.begin()
        while not connection.gone.is_set():
            await connection.chunk(START + BLOCK + delta("x" * 1000))

    async with upstream(script) as claude:
        response = await http.post(f"{await serve(claude.url)}/api/stream", json=ASK)
        await response.content.readany()
        response.close()
        async with asyncio.timeout(2):
            await claude.seen[0].gone.wait()
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_a_reader_that_stops_reading_slows_claude_down_and_is_hung_up_on(
        serve: Serve, stack: AsyncExitStack) -> None:
    flood = Flood()
    async with upstream(flood) as claude:
        url = httpx.URL(await serve(claude.url, stall_timeout=0.3))
        reader, writer = await asyncio.open_connection(url.host, url.port)
        stack.callback(writer.close)
        body = json.dumps(ASK).encode()
        writer.write(b"POST /api/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        async with asyncio.timeout(10):
            await reader.readline()
            while not claude.seen:
                await asyncio.sleep(0.01)
            await claude.seen[0].gone.wait()
    # What the kernel's buffers hold on the two loopback connections, and no more.
    assert flood.sent < 30_000_000


async def test_an_http_1_0_proxy_gets_a_stream_that_ends_with_the_connection(serve: Serve) -> None:
    async with upstream(whole) as claude:
        url = httpx.URL(await serve(claude.url))
        reader, writer = await asyncio.open_connection(url.host, url.port)
        body = json.dumps(ASK).encode()
        writer.write(b"POST /api/stream HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        answer = await reader.read()
        writer.close()
    assert b"Transfer-Encoding" not in answer
    assert answer.endswith(b"\r\n\r\ndata: Hello\n\ndata: , \n\ndata: w\xc3\xb6rld\n\ndata: [DONE]\n\n")


async def test_requests_reads_the_stream_line_by_line(serve: Serve) -> None:
    url = await serve()

    def lines() -> list[str]:
        with requests.post(f"{url}/api/stream", json=ASK, stream=True, timeout=10) as response:
            response.encoding = "utf-8"
            return [line for line in response.iter_lines(decode_unicode=True) if line]

    read = await asyncio.to_thread(lines)
    assert read[-1] == "data: [DONE]" and len(read) > 5


async def test_httpx_reads_the_stream(serve: Serve) -> None:
    url = await serve()
    async with httpx.AsyncClient() as client, client.stream("POST", f"{url}/api/stream", json=ASK) as response:
        lines = [line async for line in response.aiter_lines() if line]
    assert lines[-1] == "data: [DONE]" and len(lines) > 5


async def test_a_conversation_can_be_streamed_too(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as claude:
        url = await serve(claude.url)
        history = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]
        body = {"message": "C", "history": history, "format": "events"}
        async with http.post(f"{url}/api/chat/stream", json=body) as response:
            done = json.loads(decoded(await response.text())[-1][1])
    assert done["message_count"] == 4
    assert claude.seen[0].body["messages"] == [*history, {"role": "user", "content": "C"}]
    assert claude.seen[0].body["max_tokens"] == 1000
