"""Where a caller stands with its limits, and the two headers that say so.

The headers are those of draft-ietf-httpapi-ratelimit-headers-11 (Structured Fields of RFC 9651):
https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""
from dataclasses import dataclass

from aioapp.callers import UNLIMITED, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """What is left of each limit that `limits` has, and in how many seconds there is more of it.

    `requests_in` is 60 where nothing was used. `tokens_in` is None where nobody knows: all that was used is in flight.
    A slot is free again when a generation ends, so there is no such number for them.
    """

    limits: Limits = UNLIMITED
    requests: int = 0
    requests_in: int = 60
    tokens: int = 0
    tokens_in: int | None = 60
    slots: int = 0


def policy_field(limits: Limits) -> str:
    """The value of `RateLimit-Policy`; empty where there are no limits, and the header must be left out.

    The quota `q` is in requests where `qu` is not given. The draft knows `concurrent-requests` too; `tokens` is ours,
    for Claude's.
    """
    fields = []
    if limits.requests_per_minute is not None:
        fields.append(f'"requests";q={limits.requests_per_minute};w=60')
    if limits.tokens_per_minute is not None:
        fields.append(f'"tokens";q={limits.tokens_per_minute};w=60;qu="tokens"')
    if limits.concurrency is not None:
        fields.append(f'"concurrency";q={limits.concurrency};qu="concurrent-requests"')
    return ", ".join(fields)


def remaining_field(standing: Remaining) -> str:
    """The value of `RateLimit`; empty where there are no limits, and the header must be left out.

    `t` is the time within which no more than `r` can be used (section 4.1.2), so it is when there is more, not when
    there is all: in a window that slides, the latter may never come.
    """
    fields, limits = [], standing.limits
    if limits.requests_per_minute is not None:
        fields.append(f'"requests";r={standing.requests};t={standing.requests_in}')
    if limits.tokens_per_minute is not None:
        known = standing.tokens_in is not None
        fields.append(f'"tokens";r={standing.tokens};t={standing.tokens_in}' if known else
                      f'"tokens";r={standing.tokens}')
    if limits.concurrency is not None:
        fields.append(f'"concurrency";r={standing.slots}')
    return ", ".join(fields)
