"""One call of each kind, as a client makes it: it tells when the first text is there, and when all of it is."""
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

import aiohttp

from aioapp.cli.bench.connections import LARGEST, Connections, Target
from aioapp.cli.bench.replies import CallFailed, problem, refused, tokens_of

Transport = Literal["rest", "sse", "websocket"]
TRANSPORTS: tuple[Transport, ...] = ("rest", "sse", "websocket")


@dataclass(frozen=True, slots=True)
class FirstText:
    """The first of the answer's text is there."""


@dataclass(frozen=True, slots=True)
class Finished:
    """All of the answer is there, which is so many tokens."""

    tokens: int


Moments = AsyncGenerator[FirstText | Finished, None]
Call = Callable[[Connections, Target], Moments]
"""One call, from its beginning to its end. It raises `CallFailed`, and what aiohttp and the system raise."""


async def rest(connections: Connections, target: Target) -> Moments:
    """All text comes at once, so nothing is told of the first."""
    async with connections.http.post(
            f"{target.url}/api/generate", json=target.body, headers=target.headers) as response:
        data = await response.read()
    if response.status != 200:
        raise refused(response.status, data)
    yield Finished(tokens_of(data))


async def sse(connections: Connections, target: Target) -> Moments:
    said, body = bytearray(b"\n"), {**target.body, "format": "events"}
    async with connections.http.post(f"{target.url}/api/stream", json=body, headers=target.headers) as response:
        async with aclosing(streamed(response, said, first=b"\nevent: delta\n")) as moments:
            async for moment in moments:
                yield moment
    # JSON has no line breaks of its own: what stands at the beginning of a line is no text of the answer.
    name, _, data = said.rpartition(b"\nevent: ")[2].partition(b"\ndata: ")
    match bytes(name):
        case b"done":
            yield Finished(tokens_of(data))
        case b"error":
            raise problem(data)
        case _:
            raise CallFailed("the stream was cut")


async def websocket(connections: Connections, target: Target) -> Moments:
    """On a socket that is open already, unless as many answers run as there are sockets."""
    async with connections.socket(target) as socket:
        await socket.send_json({**target.body, "stream": True})
        begun = False
        while True:
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise CallFailed("the socket was closed", f"{socket.close_code or message.type.name}")
            if '"success":' in message.data:  # in the text of an answer its second quote would be escaped
                break
            if not begun and '"delta"' in message.data:
                begun = True
                yield FirstText()
        yield Finished(tokens_of(message.data))


async def direct(connections: Connections, target: Target) -> Moments:
    """What the server asks for `rest`, asked without it."""
    async with connections.http.post(
            f"{target.url}/v1/messages", data=target.prompt.body(live=False), headers=shown(target)) as response:
        data = await response.read()
    if response.status != 200:
        raise refused(response.status, data)
    yield Finished(0)


async def direct_stream(connections: Connections, target: Target) -> Moments:
    """What the server asks for `sse` and `websocket`, asked without it."""
    said = bytearray(b"\n")
    async with connections.http.post(
            f"{target.url}/v1/messages", data=target.prompt.body(live=True), headers=shown(target)) as response:
        async with aclosing(streamed(response, said, first=b"\nevent: content_block_delta\n")) as moments:
            async for moment in moments:
                yield moment
    if b"\nevent: message_stop\n" not in said:
        raise CallFailed("the stream was cut")
    yield Finished(0)


CALLS: Mapping[Transport, Call] = {"rest": rest, "sse": sse, "websocket": websocket}
DIRECT: Mapping[Transport, Call] = {"rest": direct, "sse": direct_stream, "websocket": direct_stream}


def shown(target: Target) -> dict[str, str]:
    """The headers of a direct call: the simulator takes any key."""
    return {**target.prompt.headers(), "Content-Type": "application/json", "X-API-Key": "bench"}


async def streamed(
        response: aiohttp.ClientResponse, said: bytearray, *, first: bytes) -> AsyncGenerator[FirstText, None]:
    """Read a stream into `said` up to its end, and tell when `first` has come."""
    if response.status != 200:
        raise refused(response.status, await response.read())
    begun = False
    async for data in response.content.iter_any():
        said += data
        if not begun and first in said:
            begun = True
            yield FirstText()
        if len(said) > LARGEST:
            raise CallFailed("the answer is too long")
