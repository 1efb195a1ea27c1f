"""One call of each kind, as a client makes it. Whatever fails is a sample too."""
import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import aiohttp

from aioapp.cli.bench.statistics import Sample

Transport = Literal["rest", "sse", "websocket"]
TRANSPORTS: tuple[Transport, ...] = ("rest", "sse", "websocket")
TIMEOUT = 60.0
"""Seconds for one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server under `url`, and what it is asked. `key` is shown where there is one, None is the server's own model."""

    url: str
    prompt: str
    max_tokens: int
    key: str | None = None
    model: str | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self.key is None else {"X-API-Key": self.key}

    @property
    def body(self) -> dict[str, Any]:
        model = {} if self.model is None else {"model": self.model}
        return {"prompt": self.prompt, "max_tokens": self.max_tokens, **model}


Call = Callable[[aiohttp.ClientSession, Target], Awaitable[Sample]]


async def rest(http: aiohttp.ClientSession, target: Target) -> Sample:
    began = perf_counter()
    async with http.post(f"{target.url}/api/generate", json=target.body, headers=target.headers) as response:
        answer = await response.json()
    seconds = perf_counter() - began
    if response.status != 200:
        return Sample(error=f"{response.status} {answer.get('error', 'Validation failed')}")
    return Sample(first=seconds, whole=seconds, tokens=answer["usage"]["output_tokens"])


async def sse(http: aiohttp.ClientSession, target: Target) -> Sample:
    began, first, last = perf_counter(), 0.0, b""
    body = {**target.body, "format": "events"}
    async with http.post(f"{target.url}/api/stream", json=body, headers=target.headers) as response:
        if response.status != 200:
            return Sample(error=f"{response.status} {response.reason}")
        while data := await response.content.readany():
            first = first or perf_counter() - began
            last = last[-4096:] + data
    end = last.rpartition(b"event: done\ndata: ")[2].partition(b"\n\n")[0]
    if b"event: done" not in last:
        return Sample(error="the stream ended with an error")
    tokens = json.loads(end)["usage"]["output_tokens"]
    return Sample(first=first, whole=perf_counter() - began, tokens=tokens)


async def websocket(http: aiohttp.ClientSession, target: Target) -> Sample:
    """On a socket of its own; the time begins when it is open."""
    async with http.ws_connect(f"{target.url}/ws/generate", headers=target.headers) as socket:
        began, first = perf_counter(), 0.0
        await socket.send_json({**target.body, "stream": True})
        async for message in socket:
            first = first or perf_counter() - began
            if '"success":' in message.data:
                answer = json.loads(message.data)
                if not answer["success"]:
                    return Sample(error=str(answer["error"]))
                return Sample(first=first, whole=perf_counter() - began, tokens=answer["usage"]["output_tokens"])
    return Sample(error="the socket was closed")


async def direct(http: aiohttp.ClientSession, target: Target) -> Sample:
    """The call that the server makes, made without it."""
    body = {"model": "claude-sonnet-5-5", "max_tokens": target.max_tokens,
            "messages": [{"role": "user", "content": target.prompt}]}
    headers = {"x-api-key": "bench", "anthropic-version": "2023-06-01"}
    began = perf_counter()
    async with http.post(f"{target.url}/v1/messages", json=body, headers=headers) as response:
        answer = await response.json()
    seconds = perf_counter() - began
    if response.status != 200:
        return Sample(error=f"{response.status} {response.reason}")
    return Sample(first=seconds, whole=seconds, tokens=answer["usage"]["output_tokens"])


CALLS: Mapping[Transport, Call] = {"rest": rest, "sse": sse, "websocket": websocket}


async def sampled(http: aiohttp.ClientSession, target: Target, *, call: Call) -> Sample:
    """What came of the call, however it ended."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await call(http, target)
    except TimeoutError:
        return Sample(error=f"no answer in {TIMEOUT:g} s")
    except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
        return Sample(error=type(error).__name__)
