"""Upstreams that do exactly what a test tells them, over real sockets, and remember what they were asked."""
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Script = Callable[["Connection"], Awaitable[None]]

USAGE = {"input_tokens": 7, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 5}
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "Hello, wörld"}],
    "stop_reason": "end_turn", "stop_sequence": None, "stop_details": None, "usage": USAGE,
}


def frame(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


START = frame("message_start", message={**MESSAGE, "content": [], "stop_reason": None})
BLOCK = frame("content_block_start", index=0, content_block={"type": "text", "text": ""})
END = (frame("content_block_stop", index=0)
       + frame("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5})
       + frame("message_stop"))


def delta(text: str) -> bytes:
    return frame("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def stream_of(*texts: str) -> bytes:
    return START + BLOCK + b"".join(map(delta, texts)) + END


@dataclass
class Connection:
    """One request, read whole, and the pen to answer it with. `gone` is set when the caller hangs up."""

    head: str
    raw: bytes
    headers: dict[str, str]
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader
    gone: asyncio.Event

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.raw or b"{}"))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.send(f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{named}"
                        f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def begin(self) -> None:
        """The head of a chunked event stream."""
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                        b"Transfer-Encoding: chunked\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def finish(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def stream(self, *chunks: bytes) -> None:
        await self.begin()
        for data in chunks:
            await self.chunk(data)
        await self.finish()

    def cut(self) -> None:
        self.writer.transport.abort()


@dataclass
class Upstream:
    """Answers the n-th request by the n-th script, and any beyond the last by the last."""

    scripts: Sequence[Script]
    url: str = ""
    seen: list[Connection] = field(default_factory=list)
    connections: int = 0
    _open: dict[asyncio.StreamWriter, asyncio.Task[None]] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open[writer] = task
        try:
            while (connection := await receive(reader, writer)) is not None:
                script = self.scripts[min(len(self.seen), len(self.scripts) - 1)]
                self.seen.append(connection)
                await self._play(script, connection)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller under test may leave at any time
        finally:
            del self._open[writer]
            writer.close()

    async def _play(self, script: Script, connection: Connection) -> None:
        watch = asyncio.create_task(self._watch(connection))
        try:
            await script(connection)
        except ConnectionError:
            connection.gone.set()
            raise
        finally:
            watch.cancel()

    async def _watch(self, connection: Connection) -> None:
        transport = connection.writer.transport
        while not transport.is_closing() and not connection.reader.at_eof():
            await asyncio.sleep(0.005)
        connection.gone.set()

    async def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*self._open.values())


async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connection | None:
    try:
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Connection(head, body, headers, writer, reader, asyncio.Event())


@dataclass
class Flood:
    """A script that never stops writing, and counts what its caller took: `sent`, in bytes."""

    sent: int = 0

    async def __call__(self, connection: Connection) -> None:
        await connection.begin()
        await connection.chunk(START + BLOCK)
        while not connection.gone.is_set():
            await connection.chunk(delta("x" * 10_000))
            self.sent += 10_000


@asynccontextmanager
async def upstream(*scripts: Script) -> AsyncIterator[Upstream]:
    made = Upstream(scripts)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = "http://127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        server.close()
        await made.close()
        await server.wait_closed()


async def whole(connection: Connection) -> None:
    """Answer well, in the form that was asked for."""
    if connection.body.get("stream"):
        await connection.stream(stream_of("Hello", ", ", "wörld"))
    else:
        await connection.answer(200, json.dumps(MESSAGE).encode())
