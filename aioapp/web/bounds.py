"""How much of this process one caller's connection may take, and for how long."""
from dataclasses import dataclass

LARGEST_LINE = 8190
"""Bytes of one header, or of a request's first line."""
LARGEST_HEAD = 2**16
"""Bytes of a request's first line and headers together."""
LEAST_TAKEN = 2**14
"""Bytes of what waits for a caller that it must take within the deadline for that."""
LARGEST_BODY = 2**22
"""Bytes of a body on the wire, where it may come in chunks; a mebibyte of it is taken."""
MOST_UNREAD = 2**26
"""Bytes of a body that nobody reads which are passed over: many clients send all of it before they read why it was
refused, and to close on them would take that away (RFC 9112 §9.6). aiohttp takes seconds for it, at most."""
SLOWEST = 2**19
"""Bytes a second of a body that is allowed to be large: so much longer it may take to arrive."""
MOST_UNSENT = 2**14
"""Bytes that wait for a caller before more is made for it, and as many in the kernel."""
LAST_WORDS = 2.0
"""Seconds that a refused caller gets to read why."""
LARGEST_INTRODUCTION = 4096
"""Bytes of the first message on a WebSocket whose caller has not shown a key yet."""
INTRODUCTION = 'Send {"type": "auth", "key": …} first.'
TOLD = 128
"""Refused connections that are told why at the same time. What comes beyond them is cut without a word."""
SHARE = 4
"""Without keys, one address gets at most a quarter of all connections: else one caller could keep all others out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds: to the first byte of a new connection, from there to a request's whole head, from there to its whole
    body, between two requests, and for a caller to take what is written to it."""

    first_byte: float
    head: float
    body: float
    idle: float
    stall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many connections there may be, and how long each may wait."""

    connections: int
    deadlines: Deadlines

    @property
    def share(self) -> int:
        """How many of them one address may have where there are no keys."""
        return max(1, self.connections // SHARE)
