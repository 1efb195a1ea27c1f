"""Connections to Claude: many, kept alive, and through the proxy that the environment names."""
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

import aioapp

LOOPBACK = ("localhost", "127.0.0.1", "::1")
KEEP_IDLE = 60.0
"""Seconds that an idle connection is kept: a new one costs a TLS handshake."""


def client_session(*, url: str, connections: int) -> aiohttp.ClientSession:
    """A session for calls to `url`, with at most so many `connections` at once; more wait for one to be free.

    It asks for no compression, which would hold deltas back.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEP_IDLE),
        headers={"User-Agent": f"aioapp/{aioapp.__version__}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(), proxy=proxy_for(url))


def proxy_for(url: str) -> str | None:
    """The proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name for `url`.

    Looked up once: aiohttp's `trust_env` would do it for every request. No proxy reaches this machine's loopback.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
