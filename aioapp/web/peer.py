"""Where a caller is, as one address or as the network that counts as one caller, and where it reached us."""
import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp import web
from yarl import URL

from aioapp.errors import BadRequest

AUTHORITY = re.compile(r"(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
"""A host and perhaps a port. yarl takes more than that, such as `a b`; what it gives goes into links."""


def network_of(remote: str) -> str:
    """The address; of IPv6, whose callers have whole networks, its first half (RFC 6177 §2). Empty where unknown."""
    if ":" not in remote:
        return remote
    match plain(remote):
        case IPv6Address() as address:
            return ":".join(address.exploded.split(":")[:4]) + "::/64"
        case address:
            return str(address)


def plain(address: str) -> IPv4Address | IPv6Address:
    """The address; the one of IPv4 that a socket for both writes as one of IPv6. Raises `ValueError`."""
    found = ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def is_loopback(address: str) -> bool:
    if address == "127.0.0.1":
        return True
    try:
        return plain(address).is_loopback
    except ValueError:
        return False


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
