"""The limits themselves: what is compared with what, and what a caller is told that reaches one."""
from aioapp.callers import Limits
from aioapp.errors import AppError, BadRequest, LimitReached
from aioapp.limits.remaining import Remaining
from aioapp.store.embedded.board import budgets
from aioapp.store.embedded.board.account import Account, Ended
from aioapp.store.embedded.board.budgets import Wanted

MINUTE = 60
OURS = "this is this server's limit, not Claude's."


def admit(account: Account, now: float, *, limit: int) -> int:
    """Count a request in the second that is returned. Raises `LimitReached`."""
    second = int(now)
    counted = account.requests.total(second)
    if counted >= limit:
        raise LimitReached(
            f"{limit} requests a minute are allowed; {OURS}", refused="requests_per_minute",
            retry_after=account.requests.wait(now, counted + 1 - limit) or MINUTE)
    account.count_request(second)
    return second


def reserve(
        account: Account, now: float, *, tokens: int, limits: Limits, wanted: Wanted | None, ended: Ended,
) -> None:
    """Whether there is a slot, so many tokens and so much money.

    Raises `BudgetSpent` or `LimitReached`, not before what dead processes hold was freed.
    """
    for last in (False, True):
        refused: AppError | None = budgets.refused(account.purse, wanted) if wanted is not None else None
        refused = refused or refusal(account, now, tokens=tokens, limits=limits)
        if refused is None:
            return
        if last:
            raise refused
        account.sweep(int(now), ended)


def refusal(account: Account, now: float, *, tokens: int, limits: Limits) -> LimitReached | None:
    slots, held = account.in_flight()
    most = limits.tokens_per_minute
    if most is not None:
        over = account.tokens.total(int(now)) + held + tokens - most
        if over > 0:
            # Where even an empty window would not do, what is in flight stands in the way, and may end at any time.
            return LimitReached(f"{most} tokens a minute are allowed; {OURS}", refused="tokens_per_minute",
                                retry_after=account.tokens.wait(now, over) or 1)
    if limits.concurrency is not None and slots >= limits.concurrency:
        return LimitReached(f"{limits.concurrency} generations at once are allowed; {OURS}", refused="concurrency",
                            retry_after=1)
    return None


def too_many(tokens: int, limit: int) -> BadRequest:
    return BadRequest(f"This may take {tokens} tokens, and {limit} a minute are allowed: lower max_tokens. "
                      "This is this server's limit, not Claude's.", refused="over_tokens_per_minute")


def remaining(account: Account, now: float, *, limits: Limits) -> Remaining:
    second = int(now)
    requests, tokens = account.requests.total(second), account.tokens.total(second)
    slots, held = account.in_flight()
    return Remaining(
        limits=limits,
        requests=max(0, (limits.requests_per_minute or 0) - requests),
        requests_in=account.requests.wait(now, 1) or MINUTE,
        tokens=max(0, (limits.tokens_per_minute or 0) - tokens - held),
        tokens_in=account.tokens.wait(now, 1) or (None if held else MINUTE),
        slots=max(0, (limits.concurrency or 0) - slots))
