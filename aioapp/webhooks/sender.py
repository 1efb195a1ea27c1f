"""Sends one webhook, once: who sends it again, and when, is the business of whoever has it sent."""
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp

from aioapp.webhooks.signature import headers_of

TIMEOUT = 10.0
"""Seconds that a receiver gets for all of its answer."""
MOST_READ = 4096
"""Bytes of an answer that are read, of which nothing is used."""
TAKEN = range(200, 300)

Send = Callable[[str, bytes], Awaitable[str | None]]
"""Sends the body under the message's id. None where it was taken, else why not, in words that name no URL."""


@asynccontextmanager
async def open_sender(
        url: str, *, secret: bytes, proxy: str | None = None, timeout: float = TIMEOUT) -> AsyncIterator[Send]:
    """Sends to `url`, by way of `proxy` where there is one.

    Certificates are verified, and no redirect is followed: a signature is for one receiver.
    """
    async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout), cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "aioapp", "Content-Type": "application/json"}) as http:
        async def send(id: str, body: bytes) -> str | None:
            signed = headers_of(body, id=id, at=time.time(), secret=secret)
            try:
                async with http.post(url, data=body, headers=signed, proxy=proxy, allow_redirects=False) as response:
                    await response.content.read(MOST_READ)
                    return None if response.status in TAKEN else f"it answered with status {response.status}"
            except (asyncio.TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
                return f"it cannot be reached: {type(error).__name__}"  # the rest of its words may name the URL

        yield send
