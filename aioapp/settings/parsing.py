"""What the text of a setting means. Each function raises `ValueError` with what it takes."""
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv6Network, ip_network
from math import nan
from pathlib import Path
from urllib.parse import urlsplit

from aioapp.money import nanodollars
from aioapp.webhooks.signature import secret_of

Parse = Callable[[str], object]
URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", re.IGNORECASE)
WEBHOOK = re.compile(r"https?://[^\s/?#@]+([/?][^\s#]*)?", re.IGNORECASE)


def whole(least: int, most: int) -> Parse:
    def parse(text: str) -> int:
        if text.strip().isdecimal() and least <= float(text) <= most:
            return int(text)
        raise ValueError(f"a whole number from {least} to {most}")

    return parse


def seconds(text: str) -> float:
    """A positive, finite number of seconds."""
    if 0 < number(text) < 1e9:
        return number(text)
    raise ValueError("a number of seconds greater than 0")


def at_least(least: float) -> Parse:
    """A finite number of seconds, from `least` on."""
    def parse(text: str) -> float:
        if least <= number(text) < 1e9:
            return number(text)
        raise ValueError(f"a number of seconds from {least:g} on")

    return parse


def pace(text: str) -> float:
    if 0 <= number(text) <= 1000:
        return number(text)
    raise ValueError("a number from 0 to 1000")


def usd(text: str) -> int:
    """Dollars, as nanodollars."""
    return nanodollars(text.strip())


def webhook(text: str) -> str:
    """Where to send to. It may hold a query, by which receivers often know who sends, but no password."""
    text = text.strip()
    with suppress(ValueError):  # a port or an IPv6 address that is none
        if WEBHOOK.fullmatch(text) and text.isprintable() and urlsplit(text).hostname and urlsplit(text).port != 0:
            return text
    raise ValueError("a URL that begins with https:// or http:// and has neither password nor fragment")


def secret(text: str) -> bytes:
    return secret_of(text.strip())


def number(text: str) -> float:
    """What `text` says; not a number, which no bounds hold, if it says none."""
    try:
        return float(text)
    except ValueError:
        return nan


def switch(text: str) -> bool:
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError("true or false")


def one_of(options: Sequence[str]) -> Parse:
    def parse(text: str) -> str:
        if text.lower() in options:
            return text.lower()
        raise ValueError("one of " + ", ".join(options))

    return parse


def name(text: str) -> str:
    if text.strip():
        return text.strip()
    raise ValueError("a name")


def content(text: str) -> str:
    """What stands in the file that is named."""
    try:
        return Path(text).read_text()
    except (OSError, ValueError):
        raise ValueError("a text file that can be read") from None


def url(text: str) -> str:
    """Where an API is. Paths are appended to it; a password in it could not be kept out of logs."""
    text = text.strip()
    with suppress(ValueError):  # a port or an IPv6 address that is none
        if URL.fullmatch(text) and text.isprintable() and urlsplit(text).hostname and urlsplit(text).port != 0:
            return text.rstrip("/")
    raise ValueError("a URL that begins with http:// or https:// and has no password, query or fragment")


def origin(text: str) -> str:
    """An origin as a browser sends it, RFC 6454 §6.2, or `*` for any."""
    parts = urlsplit(text.strip())
    if text.strip() == "*" or (parts.scheme and parts.netloc and text.strip() == f"{parts.scheme}://{parts.netloc}"):
        return text.strip().lower()
    raise ValueError("an origin such as https://example.com (no path), or *")


def origins(text: str) -> tuple[str, ...]:
    """Origins with commas between them."""
    return tuple(origin(part) for part in text.split(",") if part.strip()) or (origin(text),)


def networks(text: str) -> tuple[str, ...]:
    """Networks with commas between them, as CIDR (RFC 4632) writes them, and `unix` for all Unix sockets."""
    return tuple(network(part.strip()) for part in text.split(",") if part.strip()) or (network(text),)


def network(text: str) -> str:
    """An address is a network of one. Everybody is none: who calls could be forged then."""
    if text.lower() == "unix":
        return "unix"
    with suppress(ValueError):
        found = ip_network(text)
        if isinstance(found, IPv6Network) and found.prefixlen >= 96 and found.network_address.ipv4_mapped:
            found = ip_network((found.network_address.ipv4_mapped, found.prefixlen - 96))
        if found.prefixlen > 0:
            return str(found)
    raise ValueError("a network such as 10.0.0.0/8, an address, or unix")
