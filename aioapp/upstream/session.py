"""The way to Claude: our own connections, or through the proxy that the environment names."""
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aioapp.upstream.pool import Pool
from aioapp.upstream.transport import Transport

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@asynccontextmanager
async def open_transport(url: str, *, connections: int, timeout: float) -> AsyncIterator[Transport]:
    """The way to `url`, with at most so many `connections` at once; `timeout` is in seconds, to make one."""
    if proxy := proxy_for(url):
        from aioapp.upstream.proxied import open_proxied  # aiohttp's client is not loaded where it is not needed
        async with open_proxied(url, proxy=proxy, connections=connections, timeout=timeout) as proxied:
            yield proxied
        return
    pool = Pool(url, connections=connections, timeout=timeout)
    try:
        yield pool
    finally:
        await pool.close()


def proxy_for(url: str) -> str | None:
    """The proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name for `url`.

    No proxy reaches this machine's loopback.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
