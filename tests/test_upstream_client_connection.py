"""A connection of our own to Claude: what comes on it is read as RFC 9112 has it, however it is cut, within bounds."""
import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioapp.upstream.client_connection import LARGEST_HEAD, READ_AHEAD, ClientConnection
from aioapp.upstream.pool import READ_AT_ONCE, Pool
from aioapp.upstream.transport import Broken, NotConnected, Response, Silent, Transport

BODY = b'{"a": 1}'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
           b"5;of=use\r\nhello\r\n00b\r\n, it is me.\r\n0\r\nTrailer: 1\r\n\r\n")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Peer:
    """The other end. `requests` are what came on all of its connections, `ended` how many of them are over."""

    url: str = ""
    connections: int = 0
    ended: int = 0
    requests: list[bytes] = field(default_factory=list)


async def request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(len(BODY))


@asynccontextmanager
async def peer(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Answers each request by `script`, and closes where that ends with an exception."""
    here = Peer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        try:
            while True:
                here.requests.append(await request(reader))
                await script(reader, writer)
        except (EOFError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            here.ended += 1

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    here.url = f"{'https' if tls else 'http'}://localhost:{port}/gate"
    try:
        yield here
    finally:
        server.close()
        await until(lambda: here.ended == here.connections)


@asynccontextmanager
async def pool(url: str, *, connections: int = 5, timeout: float = 5.0, tls: ssl.SSLContext | None = None,
               ) -> AsyncIterator[Pool]:
    made = Pool(url, connections=connections, timeout=timeout, tls=tls)
    try:
        yield made
    finally:
        await made.close()


def said(*pieces: bytes, close: bool = False) -> Script:
    """Sends the pieces, each in a write of its own."""
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            raise EOFError

    return script


async def post(transport: Transport, *, silence: float | None = 5.0) -> Response:
    return await transport.request(
        "POST", "/v1/messages?x=%20", headers={"Authorization": "k"}, body=BODY, silence=silence)


async def read(response: Response) -> bytes:
    try:
        pieces = []
        while piece := await response.read():
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        response.release()


async def told(script: Script) -> tuple[int, bytes]:
    async with peer(script) as here, pool(here.url) as transport:
        response = await post(transport)
        return response.status, await read(response)


def on_both_loops(work: Callable[[], Awaitable[None]]) -> None:
    for factory in LOOPS.values():
        with asyncio.Runner(loop_factory=factory) as runner:
            async def run() -> None:
                await work()

            runner.run(run())


def test_a_request_is_sent_as_the_rfc_has_it_and_its_connection_is_used_again() -> None:
    async def work() -> None:
        async with peer(said(WHOLE)) as here, pool(here.url) as transport:
            for _ in range(3):
                response = await post(transport)
                assert (response.status, response.headers["content-type"]) == (200, "application/json")
                assert await read(response) == b"hello"
            assert here.connections == 1
            lines = here.requests[0].decode().split("\r\n")
            assert lines[0] == "POST /gate/v1/messages?x=%20 HTTP/1.1"
            assert lines[1] == "Host: " + here.url.split("/")[2]
            assert {"Accept-Encoding: identity", "Authorization: k", f"Content-Length: {len(BODY)}"} <= set(lines)
            assert lines[-1].encode() == BODY

    on_both_loops(work)


def test_chunks_and_headers_that_come_twice_are_read_on_either_loop() -> None:
    async def work() -> None:
        async with peer(said(CHUNKED)) as here, pool(here.url) as transport:
            response = await post(transport)
            assert (response.headers["x-a"], await read(response)) == ("1, 2", b"hello, it is me.")
            assert response.raw_headers[-2:] == ((b"X-A", b"1"), (b"x-a", b"2"))

    on_both_loops(work)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts=st.sets(st.integers(1, len(CHUNKED) - 1)), interim=st.booleans())
def test_any_cut_of_the_bytes_gives_the_same_answer(cuts: set[int], interim: bool) -> None:
    places = [0, *sorted(cuts), len(CHUNKED)]
    pieces = [CHUNKED[start:end] for start, end in zip(places, places[1:])]
    before = [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"] if interim else []
    assert asyncio.run(told(said(*before, *pieces))) == (200, b"hello, it is me.")


async def test_what_comes_behind_a_body_is_passed_over_and_not_kept() -> None:
    async with peer(said(CHUNKED.replace(b"Trailer: 1", b"Trailer: 1\r\n" * 5000 + b"X: y"))) as here:
        async with pool(here.url) as transport:
            response = await post(transport)
            assert await read(response) == b"hello, it is me."
            assert "trailer" not in response.headers
            assert [len(connection._found) for connection in transport._idle] == [3]


async def test_no_byte_of_an_answer_that_nobody_asked_for_is_taken_for_the_one_before() -> None:
    for behind in (WHOLE, CHUNKED, b"more", WHOLE + b"\0nonsense"):
        assert await told(said(WHOLE + behind)) == (200, b"hello")
        assert await told(said(CHUNKED + behind)) == (200, b"hello, it is me.")


async def test_interim_answers_are_passed_over_and_leave_no_header() -> None:
    async with peer(said(b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n" * 5 + WHOLE)) as here:
        async with pool(here.url) as transport:
            response = await post(transport)
            assert (response.status, "x-interim" in response.headers) == (200, False)
            assert await read(response) == b"hello"


@pytest.mark.parametrize("answer", [
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end"])
async def test_a_body_without_a_length_goes_on_until_the_connection_is_closed(answer: bytes) -> None:
    assert await told(said(answer, close=True)) == (200, b"until the end")


@pytest.mark.parametrize("answer", [
    WHOLE.replace(b"1.1", b"1.0"), WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), WHOLE + b"more",
    WHOLE + WHOLE])
async def test_a_connection_that_cannot_be_trusted_again_is_not_used_again(answer: bytes) -> None:
    async with peer(said(answer)) as here, pool(here.url) as transport:
        for _ in range(2):
            assert await read(await post(transport)) == b"hello"
        assert here.connections == 2


async def test_an_answer_that_is_not_read_to_its_end_takes_its_connection_with_it() -> None:
    async with peer(said(WHOLE[:-1])) as here, pool(here.url) as transport:
        response = await post(transport)
        assert await response.read() == b"hell"
        response.release()
        await until(lambda: here.ended == 1)


@pytest.mark.parametrize("answer", [
    b"\x16\x03\x01", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\nA: b\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * LARGEST_HEAD, b"HTTP/1.1 200 OK\r\nA: " + b"b" * 2 * LARGEST_HEAD,
    b"HTTP/1.1 100 Continue\r\n\r\n" * LARGEST_HEAD])
async def test_what_is_not_an_answer_of_http_breaks_the_connection(answer: bytes) -> None:
    with pytest.raises(Broken):
        await told(said(answer))


@pytest.mark.parametrize("end", ["closed", "half closed", "reset"])
async def test_an_answer_that_is_cut_is_given_as_far_as_it_came_and_then_breaks(end: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE[:-2])
        await asyncio.sleep(0.01)
        match end:
            case "half closed":
                writer.write_eof()
                await reader.read()
            case "reset":
                writer.transport.abort()
        raise EOFError

    async with peer(script) as here, pool(here.url) as transport:
        response = await post(transport)
        assert await response.read() == b"hel"
        with pytest.raises(Broken):
            await response.read()
        response.release()


async def test_an_idle_connection_that_its_other_end_has_closed_is_not_used() -> None:
    async with peer(said(WHOLE, close=True)) as here, pool(here.url) as transport:
        assert await read(await post(transport)) == b"hello"
        await until(lambda: not transport._idle)
        assert await read(await post(transport)) == b"hello"
        assert here.connections == 2


async def test_a_request_that_crosses_with_the_end_of_its_connection_is_broken_and_not_sent_twice() -> None:
    """Nobody knows whether it was read, and it may cost (RFC 9110 section 9.2.2)."""
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(here.requests) == 2:
            raise EOFError
        writer.write(WHOLE)

    async with peer(script) as here, pool(here.url) as transport:
        assert await read(await post(transport)) == b"hello"
        with pytest.raises(Broken):
            await post(transport)
        assert len(here.requests) == 2


@pytest.mark.parametrize("answer", [b"", WHOLE[:-1]])
async def test_silence_has_an_end_in_the_head_and_in_the_body(answer: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()
        raise EOFError

    async with peer(script) as here, pool(here.url) as transport:
        with pytest.raises(Silent):
            await read(await post(transport, silence=0.05))
        await until(lambda: here.ended == 1)


async def test_an_answer_that_is_never_silent_for_so_long_may_take_longer() -> None:
    pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", *[b"x"] * 8]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.03)

    async with peer(script) as here, pool(here.url) as transport:
        assert await read(await post(transport, silence=0.15)) == b"x" * 8


async def test_what_nobody_reads_is_not_taken_off_the_wire() -> None:
    sent = [0]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent[0] < 2**26:
            writer.write(b"x" * 2**16)
            await writer.drain()
            sent[0] += 2**16
        raise EOFError

    async with peer(script) as here, pool(here.url) as transport:
        response = await post(transport)
        before = -1
        while before != sent[0]:
            before = sent[0]
            await asyncio.sleep(0.2)
        assert sent[0] < 2**25
        assert len(await response.read()) <= READ_AHEAD + READ_AT_ONCE
        response.release()


async def test_more_calls_than_connections_wait_in_their_order() -> None:
    async with peer(said(WHOLE)) as here, pool(here.url, connections=2) as transport:
        answers = await asyncio.gather(*[one(transport) for _ in range(20)])
        assert (answers, here.connections) == ([b"hello"] * 20, 2)


async def one(transport: Transport) -> bytes:
    return await read(await post(transport))


@pytest.mark.parametrize("closing", [True, False])
async def test_whoever_stops_waiting_takes_no_connection_from_those_behind(closing: bool) -> None:
    async with peer(said(WHOLE, close=closing)) as here, pool(here.url, connections=1) as transport:
        for round in range(30):
            tasks = [asyncio.create_task(one(transport)) for _ in range(6)]
            for _ in range(round):
                await asyncio.sleep(0)
            for task in tasks[1::2]:
                task.cancel()
            async with asyncio.timeout(5):
                results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(result == b"hello" or isinstance(result, (asyncio.CancelledError, Broken)) for result in results)
        assert await one(transport) == b"hello"
        assert transport._taken == len(transport._open) <= 1


async def test_a_call_that_is_stopped_closes_its_connection() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        raise EOFError

    async with peer(silent) as here, pool(here.url) as transport:
        task = asyncio.create_task(one(transport))
        await until(lambda: here.requests)
        task.cancel()
        await asyncio.wait({task})
        await until(lambda: here.ended == 1)


async def test_what_cannot_be_reached_is_not_connected() -> None:
    async with pool("http://127.0.0.1:1/") as transport:
        with pytest.raises(NotConnected):
            await post(transport)
        assert transport._taken == 0
    async with pool("http://nowhere.invalid/") as transport:
        with pytest.raises(NotConnected):
            await post(transport)


async def test_a_greeting_that_takes_too_long_is_not_connected() -> None:
    over = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read()
            writer.close()
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, pool(f"https://127.0.0.1:{port}/", timeout=0.1) as transport:
        with pytest.raises(NotConnected):
            await post(transport)
        assert transport._taken == 0
        await over.wait()


@pytest.mark.parametrize("evil", ["a\r\nb", "a\nb", "a\0b"])
async def test_no_header_begins_another(evil: str) -> None:
    async with peer(said(WHOLE)) as here, pool(here.url) as transport:
        for headers in ({"X": evil}, {evil: "x"}):
            with pytest.raises(ValueError, match="line break"):
                await transport.request("POST", "/", headers=headers, body=BODY, silence=None)
        assert not here.requests


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost` that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(folder / "key.pem"),
                    "-out", str(folder / "cert.pem"), "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return folder


def test_over_tls_the_name_and_the_authority_are_checked_on_either_loop(
        authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")

    async def work() -> None:
        async with peer(said(CHUNKED), tls=context) as here:
            async with pool(here.url) as transport:
                with pytest.raises(NotConnected):
                    await post(transport)
            with monkeypatch.context() as patch:
                patch.setenv("SSL_CERT_FILE", str(authority / "cert.pem"))
                async with pool(here.url) as transport:
                    for _ in range(2):
                        assert await one(transport) == b"hello, it is me."
                    assert here.connections == 1
                async with pool(here.url.replace("localhost", "127.0.0.1")) as transport:
                    with pytest.raises(NotConnected):
                        await post(transport)

    on_both_loops(work)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def test_a_silence_that_a_stream_is_held_to_is_none_of_the_answer_behind_it() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(here.requests) > 1:
            await asyncio.sleep(0.3)
        writer.write(WHOLE)

    async with peer(script) as here, pool(here.url) as transport:
        assert await read(await post(transport, silence=0.1)) == b"hello"
        assert await read(await post(transport, silence=None)) == b"hello"
        assert here.connections == 1


async def test_whoever_waits_for_a_connection_is_not_given_one_that_was_lost_on_its_way() -> None:
    async with peer(said(WHOLE)) as here, pool(here.url, connections=1) as transport:
        first = await post(transport)
        other = asyncio.create_task(post(transport))
        await asyncio.sleep(0)
        assert await first.read() == b"hello"
        first.release()
        assert isinstance(first, ClientConnection)
        first.abort()
        assert await read(await other) == b"hello"


@pytest.mark.parametrize("kind", [b"chunked", b"Chunked"])
async def test_a_chunked_body_that_is_cut_is_never_whole_however_its_coding_is_spelled(kind: bytes) -> None:
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n5\r\nhello\r\n" % kind
    with pytest.raises(Broken):
        await told(said(cut, close=True))


async def test_what_stands_behind_a_body_is_bounded() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED.removesuffix(b"\r\n\r\n"))
        for _ in range(100):
            writer.write(b"a" * LARGEST_HEAD)
            await writer.drain()

    with pytest.raises(Broken):
        await told(script)
