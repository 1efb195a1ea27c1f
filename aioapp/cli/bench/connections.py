"""Whom the load asks, and the connections on which it does."""
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from aioapp.messages.prompt import TextPrompt

LARGEST = 2**26
"""Bytes of an answer that are read."""
CLOSING = aiohttp.ClientWSTimeout(ws_close=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server under `url`, and what it is asked, with the key to show where there is one.

    A prompt that names no model is for the server's own.
    """

    url: str
    prompt: TextPrompt
    key: str | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self.key is None else {"X-API-Key": self.key}

    @property
    def body(self) -> dict[str, Any]:
        model = {} if self.prompt.model is None else {"model": self.prompt.model}
        return {"prompt": self.prompt.text, "max_tokens": self.prompt.max_tokens, **model}


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """To one server, kept from one call to the next: HTTP's by the session, and sockets on which nothing runs."""

    http: aiohttp.ClientSession
    idle: list["aiohttp.ClientWebSocketResponse[bool]"] = field(default_factory=list)

    @asynccontextmanager
    async def socket(self, target: Target) -> AsyncIterator["aiohttp.ClientWebSocketResponse[bool]"]:
        """An open one. It is kept if all went well."""
        socket = self.idle.pop() if self.idle else await self.http.ws_connect(
            f"{target.url}/ws/generate", headers=target.headers, max_msg_size=LARGEST, timeout=CLOSING)
        try:
            yield socket
        except BaseException:
            await socket.close()
            raise
        self.idle.append(socket)


@asynccontextmanager
async def connected() -> AsyncIterator[Connections]:
    """As many as calls are under way at once: that is for the load to bound."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        connections = Connections(http=http)
        try:
            yield connections
        finally:
            for socket in connections.idle:
                await socket.close()
