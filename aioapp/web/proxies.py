"""Who calls, and where they reached us, where a proxy stands between: what it says is believed if it is trusted.

A header is written by everybody on the way, the caller included, so it is read from its end: each address there was
written by the one after it, down to the peer of our own connection. The first that is no proxy of ours is the caller.
"""
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import islice
from typing import TypeVar

from aiohttp import web
from yarl import URL

from aioapp.errors import BadRequest
from aioapp.web.peer import plain

T = TypeVar("T")

HOPS = 32
"""Proxies of ours that a request can have come through; beyond, the last of them counts as the caller."""
LONGEST = 64
"""Characters of an address with its port."""
AUTHORITY = re.compile(r"(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
"""A host and perhaps a port. yarl takes more than that, such as `a b`; what it gives goes into links."""
PAIR = re.compile(r"""[ \t]*(?:([\w!#$%&'*+.^`|~-]+)=([^\s",;]+|"(?:[^"\\]|\\.)*")[ \t]*)?([,;]|\Z)""", re.ASCII)
"""A pair of `Forwarded` and what comes after it (RFC 7239 §4); colons and brackets are let pass without quotes."""
NODE = re.compile(r"\[([^\[\]]+)\](?::\w+)?|([\d.]+):\w+", re.ASCII)
"""An address with a port, and one of IPv6 as it is written in brackets (RFC 7239 §6)."""

Element = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`remote` is the caller's address, empty where it is not known. What no trusted proxy has told is None."""

    remote: str
    scheme: str | None = None
    host: str | None = None


class Proxies:
    """Proxies in these networks are trusted, and with `unix` those that come by a Unix socket."""

    def __init__(self, trusted: Iterable[str]) -> None:
        named = set(trusted)
        self._unix = "unix" in named
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(name) for name in sorted(named - {"unix"})]
        self.any = bool(named)

    def trusts(self, address: str) -> bool:
        """Whether there is a trusted proxy. A Unix socket has no address."""
        if not address:
            return self._unix
        try:
            return any(plain(address) in network for network in self._networks)
        except ValueError:
            return False

    def call(self, request: web.BaseRequest) -> Call:
        """Who calls, by what the proxies say that are trusted."""
        peer, headers = request.remote or "", request.headers
        if not self.trusts(peer):
            return Call(remote=peer)
        elements = forwarded(headers.getall("Forwarded", ()))
        newer, depth = self._traced(peer, [element.get("for", "") for element in elements])
        element = nth(elements, depth) or {}
        older, depth = self._traced(peer, listed(headers.getall("X-Forwarded-For", ())))
        scheme = nth(listed(headers.getall("X-Forwarded-Proto", ())), depth)
        host = nth(listed(headers.getall("X-Forwarded-Host", ())), depth)
        return Call(remote=agreed(newer, older) or peer, scheme=agreed(element.get("proto"), scheme),
                    host=agreed(element.get("host"), host))

    def _traced(self, peer: str, nodes: Sequence[str]) -> tuple[str | None, int]:
        """The caller, None without nodes, and which of them it is, counted from the end: the first at least."""
        found, depth = peer, 0
        for depth, node in enumerate(islice(reversed(nodes), HOPS), 1):
            address = address_of(node)
            if address is None:  # not known, hidden or nonsense: whoever wrote that stands for it
                break
            found = address
            if not self.trusts(address):
                break
        return found if nodes else None, max(1, depth)


PROXIES = web.AppKey("proxies", Proxies)
CALL = web.RequestKey("call", Call)


def call_of(request: web.Request) -> Call:
    """Who calls; it is found out once for each request."""
    known = request.get(CALL)
    if known is None:
        known = request[CALL] = request.app[PROXIES].call(request)
    return known


def remote_of(request: web.Request) -> str:
    """The caller's address, empty where it is not known."""
    return call_of(request).remote if request.app[PROXIES].any else request.remote or ""


def reached_at(request: web.Request) -> URL:
    """The server's URL, as the caller reached it; a proxy that ends TLS says so with `X-Forwarded-Proto`.

    Where no proxies are named, that header is believed from everybody: it says nothing of who calls. Raises
    `BadRequest` where the Host header names no host.
    """
    if request.app[PROXIES].any:
        call = call_of(request)
        scheme, host = call.scheme or request.scheme, call.host or request.host
    else:
        scheme, host = request.headers.get("X-Forwarded-Proto", request.scheme).partition(",")[0], request.host
    try:
        if AUTHORITY.fullmatch(host):
            return URL.build(scheme="https" if scheme.strip().lower() == "https" else "http", authority=host)
    except ValueError:
        pass  # a port out of range, say
    raise BadRequest("The Host header names no host.")


def agreed(newer: str | None, older: str | None) -> str | None:
    """What both headers say, or the one that is there. Where they differ, one of them was not written by the proxy."""
    if newer is None or older is None:
        return newer or older
    return newer if newer.lower() == older.lower() else None


def nth(values: Sequence[T], depth: int) -> T | None:
    """The value that is so many from the end, or the first one."""
    return values[-min(depth, len(values))] if values else None


def address_of(node: str) -> str | None:
    """The address of which there may be a port; None where it is none, `unknown` or `_hidden` say."""
    if len(node) > LONGEST:
        return None
    match = NODE.fullmatch(node)
    try:
        return str(plain(node if match is None else match[1] or match[2]))
    except ValueError:
        return None


def listed(values: Iterable[str]) -> list[str]:
    return [part.strip().strip('"') for value in values for part in value.split(",") if part.strip()]


def forwarded(values: Iterable[str]) -> list[Element]:
    """The elements of `Forwarded`. Of a header that does not follow the grammar, there is one that says nothing: where
    in it a quote was left open, one cannot tell what the caller wrote from what the proxy did."""
    return [element for value in values for element in (parsed(value) or [{}])]


def parsed(value: str) -> list[Element] | None:
    elements: list[Element] = [{}]
    for name, text, end in pairs(value):
        if end is None:
            return None
        if name:
            elements[-1].setdefault(name.lower(), text)
        if end == ",":
            elements.append({})
    return [element for element in elements if element]


def pairs(value: str) -> Iterator[tuple[str | None, str, str | None]]:
    """Each pair, and what ends it: None where it is none."""
    position = 0
    while position < len(value):
        match = PAIR.match(value, position)
        if match is None or match.end() == position:
            yield None, "", None
            return
        text = match[2] or ""
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        yield match[1], text, match[3]
        position = match.end()
