"""The native WebSocket: frames, ids, cancelling, and what nobody should be able to do to it."""
import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import fields
from typing import Any

import aiohttp
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from aioapp.app import create_app
from aioapp.credentials import fixed
from aioapp.services import Services
from aioapp.settings import Settings
from tests.conftest import Serve, start, with_services
from tests.upstreams import BLOCK, END, START, Connection, Flood, delta, frame, upstream, whole

Frame = dict[str, Any]
ASK = {"prompt": "Hi"}


async def hanging(connection: Connection) -> None:
    """Say one word, then wait until the caller leaves."""
    if connection.body.get("stream"):
        await connection.begin()
        await connection.chunk(START + BLOCK + delta("some"))
    await connection.gone.wait()


async def closed(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """Read until the end; gives the close code."""
    async with asyncio.timeout(5):
        while not (await socket.receive()).type.name.startswith("CLOS"):
            pass
    return socket.close_code


async def test_a_request_is_answered_by_exactly_one_frame(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{await serve()}/ws/generate") as socket:
        await socket.send_json(ASK)
        await socket.send_json(ASK | {"id": "second"})
        first, second = await socket.receive_json(), await socket.receive_json()
    assert "type" not in first and "id" not in first
    assert second["id"] == "second"
    assert first["request_id"] != second["request_id"]


async def test_every_frame_of_an_answer_bears_its_id_and_answers_run_side_by_side(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    turn = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.begin()
        await connection.chunk(START + BLOCK + delta("a"))
        if connection.body["messages"][0]["content"] == "slow":
            await turn.wait()
        await connection.chunk(END)
        await connection.finish()

    async with upstream(script) as claude:
        async with http.ws_connect(f"{await serve(claude.url)}/ws/generate") as socket:
            await socket.send_json({"prompt": "slow", "id": "s", "stream": True})
            await socket.send_json({"prompt": "quick", "id": "q", "stream": True})
            frames: list[Frame] = []
            while not any(frame["type"] == "done" for frame in frames):
                frames.append(await socket.receive_json())
            turn.set()
            frames.append(await socket.receive_json())
    assert [frame["type"] for frame in frames if frame["id"] == "q"] == ["start", "delta", "done"]
    assert [frame["type"] for frame in frames if frame["id"] == "s"] == ["start", "delta", "done"]
    assert frames[-1]["id"] == "s"


async def test_cancel_stops_one_generation_here_and_upstream_and_no_other(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(hanging, hanging, whole) as claude:
        async with http.ws_connect(f"{await serve(claude.url)}/ws/generate") as socket:
            await socket.send_json({**ASK, "id": "a", "stream": True})
            assert (await socket.receive_json())["type"] == "start"
            assert (await socket.receive_json())["type"] == "delta"
            await socket.send_json({**ASK, "id": "b"})
            while len(claude.seen) < 2:
                await asyncio.sleep(0.001)
            await socket.send_json({"type": "cancel", "id": "a"})
            assert (await socket.receive_json()).items() >= {
                "success": False, "error": "Generation cancelled", "id": "a"}.items()
            async with asyncio.timeout(2):
                await claude.seen[0].gone.wait()
            assert not claude.seen[1].gone.is_set()
            await socket.send_json({**ASK, "id": "a"})
            assert (await socket.receive_json())["success"] is True


async def test_a_cancel_that_follows_its_request_at_once_still_gets_one_last_frame(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(hanging) as claude:
        async with http.ws_connect(f"{await serve(claude.url)}/ws/generate") as socket:
            for _ in range(20):
                await asyncio.gather(socket.send_json({**ASK, "id": "a"}),
                                     socket.send_json({"type": "cancel", "id": "a"}))
                assert (await socket.receive_json())["error"] == "Generation cancelled"


async def test_there_must_be_something_to_cancel(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{await serve()}/ws/generate") as socket:
        await socket.send_json({"type": "cancel", "id": "unknown"})
        answer = await socket.receive_json()
    assert (answer["success"], answer["detail"]) == (False, "No generation with this id is running.")


async def test_an_id_that_is_in_use_is_refused(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(hanging) as claude:
        async with http.ws_connect(f"{await serve(claude.url)}/ws/generate") as socket:
            await socket.send_json({**ASK, "id": "a"})
            while not claude.seen:
                await asyncio.sleep(0.001)
            await socket.send_json({**ASK, "id": "a"})
            answer = await socket.receive_json()
    assert (answer["id"], answer["detail"]) == ("a", "A generation with this id is still running.")
    assert len(claude.seen) == 1


async def test_eight_generations_run_at_once_and_a_ninth_gets_an_error_frame(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(hanging) as claude:
        async with http.ws_connect(f"{await serve(claude.url)}/ws/generate") as socket:
            for number in range(9):
                await socket.send_json({**ASK, "id": str(number)})
            answer = await socket.receive_json()
            while len(claude.seen) < 8:
                await asyncio.sleep(0.001)
    assert (answer["id"], answer["success"]) == ("8", False)
    assert len(claude.seen) == 8


async def test_leaving_stops_everything_that_was_asked_on_the_socket(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(hanging) as claude:
        socket = await http.ws_connect(f"{await serve(claude.url)}/ws/generate")
        await socket.send_json({**ASK, "stream": True})
        await socket.send_json(ASK)
        while len(claude.seen) < 2:
            await asyncio.sleep(0.001)
        await socket.close()
        async with asyncio.timeout(2):
            await asyncio.gather(*[connection.gone.wait() for connection in claude.seen])


async def test_every_operation_is_there_by_its_name(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{await serve()}/ws/generate") as socket:
        await socket.send_json({"type": "chat", "message": "Hi", "id": "c"})
        chat = await socket.receive_json()
        await socket.send_json({"type": "generate", "prompt": "Hi", "id": "g"})
        generated = await socket.receive_json()
    assert (chat["id"], chat["message_count"]) == ("c", 2)
    assert (generated["id"], generated["prompt"]) == ("g", "Hi")


@pytest.mark.parametrize(("sent", "kind", "id"), [
    ("", "value_error.jsondecode", None),
    ("{", "value_error.jsondecode", None),
    ('{"prompt": NaN}', "value_error.jsondecode", None),
    ("[" * 100_000, "value_error.jsondecode", None),
    ("[]", "type_error.dict", None),
    ('"text"', "type_error.dict", None),
    (b'{"prompt": "Hi"}', "type_error.text", None),
    ('{"id": "x"}', "value_error.missing", "x"),
    ('{"type": "cancel"}', "value_error.missing", None),
    ('{"type": "cancel", "id": "x", "nonsense": 1}', "value_error.extra", "x"),
    ('{"id": "x", "prompt": "Hi", "stream": 1}', "value_error.strictbool", "x"),
    ('{"id": 7, "prompt": "Hi"}', "type_error.str", None),
    ('{"id": "", "prompt": "Hi"}', "value_error.any_str.min_length", ""),
    ('{"id": "%s", "prompt": ""}' % ("x" * 128), "value_error.any_str.min_length", "x" * 128),
    ('{"id": "%s", "prompt": "Hi"}' % ("x" * 129), "value_error.any_str.max_length", None),
    ('{"id": "x", "prompt": "Hi", "nonsense": true}', "value_error.extra", "x"),
])
async def test_a_frame_that_is_wrong_gets_an_error_frame_and_the_socket_stays_open(
        serve: Serve, http: aiohttp.ClientSession, sent: str | bytes, kind: str, id: str | None) -> None:
    async with http.ws_connect(f"{await serve()}/ws/generate") as socket:
        await (socket.send_bytes(sent) if isinstance(sent, bytes) else socket.send_str(sent))
        answer = await socket.receive_json()
        await socket.send_json(ASK)
        assert (await socket.receive_json())["success"] is True
    assert answer.keys() == {"success", "error", "detail", "timestamp"} | ({"id"} if id is not None else set())
    assert [problem["type"] for problem in answer["detail"]] == [kind]
    assert answer.get("id") == id


async def test_invalid_utf_8_gets_an_error_frame_too(serve: Serve) -> None:
    async with connect(f"{await serve()}/ws/generate".replace("http", "ws")) as socket:
        await socket.send(b'{"prompt": "\xff"}', text=True)
        assert json.loads(await socket.recv())["detail"][0]["type"] == "value_error.jsondecode"


async def test_an_unknown_type_is_told_the_known_ones(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{await serve()}/ws/generate") as socket:
        await socket.send_json({"type": "nonesuch", "id": "n"})
        answer = await socket.receive_json()
    assert answer["detail"] == "There is no type 'nonesuch'. Known: generate, chat, cancel, auth."


@pytest.mark.parametrize(("size", "code"), [(2**20, None), (2**20 + 1, 1009), (2**21, 1009)])
async def test_a_frame_over_one_mebibyte_closes_the_socket_with_1009(
        serve: Serve, size: int, code: int | None) -> None:
    text = '{"prompt": "' + "x" * (size - 14) + '"}'
    async with connect(f"{await serve()}/ws/generate".replace("http", "ws"), max_size=None) as socket:
        await socket.send(text)
        if code is None:
            assert json.loads(await socket.recv())["detail"][0]["type"] == "value_error.any_str.max_length"
            return
        with pytest.raises(ConnectionClosed) as ended:
            await socket.recv()
    assert ended.value.rcvd is not None and ended.value.rcvd.code == code


async def test_a_plain_get_is_asked_to_upgrade_in_the_error_shape(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{await serve()}/ws/generate") as response:
        body = await response.json()
    assert (response.status, response.headers["Upgrade"]) == (426, "websocket")
    assert body.keys() == {"success", "error", "detail", "timestamp", "request_id"}


async def test_a_handshake_that_is_wrong_is_refused_in_the_error_shape(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "short"}
    async with http.get(f"{await serve()}/ws/generate", headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["success"] is False


@pytest.mark.parametrize(("origin", "status"), [
    ("https://app.example.com", 101), ("https://APP.example.com", 101), (None, 101),
    ("https://evil.example.com", 403), ("null", 403)])
async def test_a_page_of_another_origin_gets_no_socket(
        serve: Serve, http: aiohttp.ClientSession, origin: str | None, status: int) -> None:
    url = await serve(cors_origins=("https://app.example.com",))
    try:
        async with http.ws_connect(f"{url}/ws/generate", origin=origin) as socket:
            assert not socket.closed
            answered = 101
    except aiohttp.WSServerHandshakeError as error:
        answered = error.status
    assert answered == status


async def test_shutdown_closes_sockets_with_1001_after_their_generations_have_ended(
        http: aiohttp.ClientSession) -> None:
    async with upstream(hanging) as claude, AsyncExitStack() as server:
        app = create_app(Settings(base_url=claude.url, shutdown_timeout=0.05), credentials=fixed("k", "test"))
        url = await start(app, server)
        busy = await http.ws_connect(f"{url}/ws/generate")
        idle = await http.ws_connect(f"{url}/ws/generate")
        await busy.send_json({**ASK, "id": "a"})
        while not claude.seen:
            await asyncio.sleep(0.001)
        idle_code = asyncio.create_task(closed(idle))
        ending = asyncio.create_task(server.aclose())
        last = await busy.receive_json()
        codes = await asyncio.gather(closed(busy), idle_code)
        await ending
    assert (last["error"], last["id"]) == ("The server is shutting down", "a")
    assert list(codes) == [1001, 1001]


async def test_a_reader_that_stops_reading_slows_claude_down_and_is_hung_up_on(
        serve: Serve, stack: AsyncExitStack) -> None:
    flood = Flood()
    async with upstream(flood) as claude:
        url = httpx.URL(await serve(claude.url, stall_timeout=0.3))
        reader, writer = await asyncio.open_connection(url.host, url.port)
        stack.callback(writer.close)
        writer.write(HANDSHAKE + text_frame(json.dumps({**ASK, "stream": True}).encode()))
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            while not claude.seen:
                await asyncio.sleep(0.01)
            await claude.seen[0].gone.wait()
    # What the kernel's buffers hold on the two loopback connections, and no more.
    assert flood.sent < 30_000_000


HANDSHAKE = (b"GET /ws/generate HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


def text_frame(payload: bytes) -> bytes:
    """A masked text frame of less than 126 bytes (RFC 6455 §5.2); a mask of zeros changes nothing."""
    return bytes([0x81, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


async def test_a_caller_who_vanishes_without_a_word_is_cleaned_up_after(serve: Serve) -> None:
    async with upstream(hanging) as claude:
        url = httpx.URL(await serve(claude.url))
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(HANDSHAKE + text_frame(json.dumps(ASK).encode()))
        await reader.readuntil(b"\r\n\r\n")
        while not claude.seen:
            await asyncio.sleep(0.001)
        writer.transport.abort()
        async with asyncio.timeout(2):
            await claude.seen[0].gone.wait()


async def test_a_silent_socket_is_pinged_and_a_caller_who_answers_keeps_it(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    app = create_app(Settings(simulate=True, simulate_pace=0.0))
    url = await start(with_services(app, ping=0.05), stack)
    async with http.ws_connect(f"{url}/ws/generate", autoping=False) as socket:
        for _ in range(3):
            assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.PING
            await socket.pong()
        assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.PING
        assert await closed(socket) == 1006  # this one was not answered


def test_the_ping_is_every_30_seconds_and_the_heartbeat_of_a_stream_every_15() -> None:
    assert {row.name: row.default for row in fields(Services)}.items() >= {"ping": 30.0, "heartbeat": 15.0}.items()


async def test_a_stream_that_fails_ends_with_an_error_frame(serve: Serve, http: aiohttp.ClientSession) -> None:
    async def script(connection: Connection) -> None:
        overloaded = frame("error", error={"type": "overloaded_error", "message": "Overloaded"})
        await connection.stream(START + BLOCK + delta("some"), overloaded)

    async with upstream(script) as claude:
        async with http.ws_connect(f"{await serve(claude.url)}/ws/generate") as socket:
            await socket.send_json({**ASK, "stream": True, "id": "a"})
            frames = [await socket.receive_json() for _ in range(3)]
    assert [frame.get("type") for frame in frames] == ["start", "delta", None]
    assert (frames[-1]["error"], frames[-1]["id"]) == ("Claude is overloaded", "a")
