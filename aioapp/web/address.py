"""Where the server is, as its caller sees it."""
import re

from aiohttp import web
from yarl import URL

from aioapp.errors import BadRequest

AUTHORITY = re.compile(r"(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
"""A host and perhaps a port. yarl takes more than that, such as `a b`; what it gives goes into links."""


def reached_at(request: web.Request) -> URL:
    """The server's URL, as the caller reached it; a proxy that ends TLS says so with `X-Forwarded-Proto`.

    Raises `BadRequest` where the Host header names no host.
    """
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme).partition(",")[0].strip().lower()
    try:
        if AUTHORITY.fullmatch(request.host):
            return URL.build(scheme="https" if scheme == "https" else "http", authority=request.host)
    except ValueError:
        pass  # a port out of range, say
    raise BadRequest("The Host header names no host.")
