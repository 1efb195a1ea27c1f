"""Connections to Claude: many, kept alive, and through the proxy that the environment names."""
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

import aioapp

LOOPBACK = ("localhost", "127.0.0.1", "::1")
READ_AHEAD = 2**14
"""Bytes of an answer that are read before its caller has taken what came before them."""
KEEP_IDLE = 60.0
"""Seconds that an idle connection is kept: a new one costs a TLS handshake."""


def client_session(*, url: str, connections: int) -> aiohttp.ClientSession:
    """A session for calls to `url`, with at most so many `connections` at once; more wait for one to be free.

    It asks for no compression, which would hold deltas back, and unpacks none.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEP_IDLE, socket_factory=small_socket),
        headers={"User-Agent": f"aioapp/{aioapp.__version__}", "Accept-Encoding": "identity"},
        auto_decompress=False, read_bufsize=READ_AHEAD, cookie_jar=aiohttp.DummyCookieJar(), proxy=proxy_for(url))


def small_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket of which the kernel reads ahead no more than we do, and hands no more over at once."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_AHEAD)
    return made


def proxy_for(url: str) -> str | None:
    """The proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name for `url`.

    Looked up once: aiohttp's `trust_env` would do it for every request. No proxy reaches this machine's loopback.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
