"""Calls to Claude through a proxy, which aiohttp's client knows how to do."""
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

import aioapp
from aioapp.upstream.pool import KEEP_IDLE
from aioapp.upstream.transport import Broken, NotConnected, Silent

READ_AHEAD = 2**14
"""Bytes of an answer that are read before its caller has taken what came before them."""


class ProxiedResponse:
    """A `Response`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.raw_headers = tuple(response.raw_headers)
        self.headers: Mapping[str, str] = {
            name.lower(): ", ".join(response.headers.getall(name)) for name in response.headers}

    async def read(self) -> bytes:
        content = self._response.content
        try:
            return await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            # aiohttp raises a failure before it gives what it still holds, unless it has forgotten it for a moment.
            content.set_exception(None)  # type: ignore[arg-type]
            held = content.read_nowait()
            content.set_exception(error)
            if held:
                return held
            raise failure(error) from error

    def release(self) -> None:
        self._response.release()


class Proxied:
    """A `Transport` to what is below `url`. `timeout` is in seconds, to reach the proxy."""

    def __init__(self, url: str, *, session: aiohttp.ClientSession, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._session = session
        self._timeout = timeout

    async def request(
            self, method: str, target: str, *, headers: Mapping[str, str], body: bytes = b"", silence: float | None,
    ) -> ProxiedResponse:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=silence)
        try:
            return ProxiedResponse(await self._session.request(
                method, URL(self._url + target, encoded=True), data=body or None, headers=headers, timeout=timeout,
                allow_redirects=False))
        except (aiohttp.ClientError, OSError) as error:
            raise failure(error) from error


def failure(error: Exception) -> NotConnected | Silent | Broken:
    match error:
        case aiohttp.SocketTimeoutError():
            return Silent()
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | aiohttp.ClientHttpProxyError():
            return NotConnected()
    return Broken(type(error).__name__)


@asynccontextmanager
async def open_proxied(url: str, *, proxy: str, connections: int, timeout: float) -> AsyncIterator[Proxied]:
    """It asks for no compression, which would hold deltas back, and unpacks none."""
    async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEP_IDLE),
            headers={"User-Agent": f"aioapp/{aioapp.__version__}", "Accept-Encoding": "identity"},
            auto_decompress=False, read_bufsize=READ_AHEAD, cookie_jar=aiohttp.DummyCookieJar(), proxy=proxy,
    ) as session:
        yield Proxied(url, session=session, timeout=timeout)
