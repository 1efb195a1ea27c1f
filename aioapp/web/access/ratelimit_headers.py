"""The two headers that tell a caller how much of each of its limits is left.

They are those of draft-ietf-httpapi-ratelimit-headers-11 (Structured Fields of RFC 9651):
https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""
from functools import lru_cache

from aiohttp import web

from aioapp.callers import Limits
from aioapp.errors import AppError
from aioapp.limits import Remaining
from aioapp.web.context import ALLOWANCE, CALLER


async def tell_limits(request: web.Request, response: web.StreamResponse) -> None:
    """A signal's receiver: it sees streams and sockets too."""
    caller = request.get(CALLER)
    if caller is None or not (policy := policy_field(caller.limits)):
        return
    headers = response.headers
    headers["RateLimit-Policy"] = policy
    try:
        headers["RateLimit"] = remaining_field(await request[ALLOWANCE].remaining(caller))
    except AppError:
        pass  # the answer itself is worth more than this


@lru_cache(512)
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
