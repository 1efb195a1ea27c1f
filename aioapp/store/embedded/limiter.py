"""Admits requests, and reserves slots, tokens and money for generations, within what each caller may do and spend."""
import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from aioapp.callers import Caller, Spent
from aioapp.errors import StoreUnavailable
from aioapp.limits.remaining import Remaining
from aioapp.store.embedded.board import budgets, rules
from aioapp.store.embedded.board.board import Board
from aioapp.store.embedded.board.directory import Mark, Directory
from aioapp.store.embedded.board.share import Share
from aioapp.store.embedded.board.turns import Busy, Turns

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds to wait for another process's turn to end."""
PAUSE, LONGEST_PAUSE = 0.0001, 0.002
MOST = 10**12
"""Tokens that one generation can have used: whatever says more is wrong, and must not break the sums."""


class Reservation:
    """A slot, tokens and money that are held until `settle`."""

    __slots__ = ("_settle",)

    def __init__(self, settle: Callable[[int, int], None] | None = None) -> None:
        self._settle = settle

    def settle(self, tokens: int, nanodollars: int = 0) -> None:
        """Give back what is held, and count what was really used and spent. Only the first call counts.

        Both is done in the same turn, so no other call sees money that is neither held nor spent. What is spent is to
        be told to `written` later.
        """
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(tokens, nanodollars)


class Limiter:
    """Holds callers to their limits and budgets. The board is opened when the first caller comes that has any.

    A board that cannot be used is `StoreUnavailable` to whoever asks, and is opened anew each time somebody asks. What
    is given back meanwhile is given back when it can be used again. Unless it is `waiting`, each may raise `Busy` too,
    for a turn of another process; `late` is for one that does not end.
    """

    def __init__(
            self, open_board: Callable[[], Board], *, clock: Callable[[], float] = time.monotonic, waiting: bool = True,
    ) -> None:
        self._turns = Turns(open_board, clock=clock, waiting=waiting)

    def admit(self, caller: Caller) -> int:
        """Count one request. Returns the second it was counted in, for `refund`.

        Raises `LimitReached` or `StoreUnavailable`.
        """
        limit = caller.limits.requests_per_minute
        if limit is None:
            return 0
        return self._turns.turn(
            lambda directory, now: rules.admit(directory.account(caller.account, int(now)), now, limit=limit))

    def refund(self, caller: Caller, second: int) -> None:
        """Take a request that was counted in `second` out of the count again, because something else refused it.

        Raises nothing: where the board cannot be used, it is done as soon as it can be.
        """
        if caller.limits.requests_per_minute is not None:
            self._turns.owe(partial(self._refund, name=caller.account, counted=second))

    def reserve(self, caller: Caller, tokens: int, *, nanodollars: int = 0, spent: Spent | None = None) -> Reservation:
        """A slot, so many tokens and so much money, all or nothing, until they are settled.

        `spent` is what the database is known to say, for a caller that has a budget; `Stale` is raised where that is
        too old. Raises `BudgetSpent`, `LimitReached`, `StoreUnavailable`, or `BadRequest` where waiting would not help.
        """
        limits, wanted = caller.limits, None
        if spent is not None and caller.budget is not None:
            wanted = budgets.Wanted(caller.budget, nanodollars, spent)
        if wanted is None and limits.tokens_per_minute is None and limits.concurrency is None:
            return Reservation()
        check_fits(caller, tokens=tokens, nanodollars=nanodollars)
        return self._turns.turn(partial(self._reserve, caller=caller, tokens=tokens, wanted=wanted))

    def charge(self, caller: Caller, nanodollars: int) -> None:
        """So much was spent, and is not in the database yet. Raises nothing."""
        name = caller.account
        self._turns.change(name, Share(unwritten=nanodollars))
        self._turns.owe(partial(self._tell, name=name))

    def written(self, charges: Mapping[tuple[str, str], int]) -> None:
        """What was charged is in the database now: so much of each account and day. Raises nothing."""
        for (name, day), nanodollars in charges.items():
            self._turns.change(name, Share(unwritten=-nanodollars))
            self._turns.owe(partial(self._wrote, name=name, day=day, nanodollars=nanodollars))

    def mark(self) -> Mark | None:
        """The moment as of which what is read from the database after this is true, for `Spent`. None: nobody knows.

        To be asked twice a second at least: so a process tells what it has in flight, where the board was lost.
        """
        if self._turns.idle:
            return None
        try:
            return self._turns.turn(lambda directory, now: directory.mark())
        except Busy:
            raise
        except StoreUnavailable:
            return None

    def remaining(self, caller: Caller) -> Remaining:
        """Where the caller stands with its limits. Raises `StoreUnavailable`."""
        limits = caller.limits
        if limits.requests_per_minute is None and limits.tokens_per_minute is None and limits.concurrency is None:
            return Remaining()
        return self._turns.turn(
            lambda directory, now: rules.remaining(directory.account(caller.account, int(now)), now, limits=limits))

    def late(self, error: BaseException) -> StoreUnavailable:
        """Another process's turn does not end: this logs it, and is what to raise."""
        return self._turns.late(error)

    def close(self) -> None:
        """Let the board go. What is still in flight counts as left by a process that has ended."""
        self._turns.close()

    def _reserve(
            self, directory: Directory, now: float, *, caller: Caller, tokens: int, wanted: budgets.Wanted | None,
    ) -> Reservation:
        name, second = caller.account, int(now)
        account = directory.account(name, second)
        if wanted is not None:
            budgets.learn(directory, account, second=second, wanted=wanted)
        rules.reserve(account, now, tokens=tokens, limits=caller.limits, wanted=wanted, ended=directory.board.ended)
        held = 0 if wanted is None else wanted.nanodollars
        share = self._turns.share(name).plus(Share(1, tokens, held))
        directory.put(account, second, name=name, share=share)
        self._turns.keep(name, share)
        return Reservation(partial(self._settle, name=name, reserved=tokens, held=held, budgeted=wanted is not None))

    def _settle(
            self, tokens: int, nanodollars: int, *, name: str, reserved: int, held: int, budgeted: bool) -> None:
        self._turns.change(name, Share(-1, -reserved, -held, nanodollars if budgeted else 0))
        self._turns.owe(partial(self._used, name=name, tokens=min(tokens, MOST)))

    def _refund(self, directory: Directory, second: int, *, name: str, counted: int) -> None:
        directory.account(name, second).requests.take(counted, 1)

    def _tell(self, directory: Directory, second: int, *, name: str) -> None:
        directory.tell(name, self._turns.share(name), second=second)

    def _used(self, directory: Directory, second: int, *, name: str, tokens: int) -> None:
        directory.tell(name, self._turns.share(name), second=second).count_tokens(second, tokens)

    def _wrote(self, directory: Directory, second: int, *, name: str, day: str, nanodollars: int) -> None:
        account = directory.account(name, second)
        account.purse.wrote(nanodollars, day=day, moment=directory.next_moment())  # first: killed here, it counts twice
        directory.put(account, second, name=name, share=self._turns.share(name))


def check_fits(caller: Caller, *, tokens: int, nanodollars: int) -> None:
    """Raises `BadRequest` for what is more than there ever is: to wait would not help."""
    if caller.budget is not None and nanodollars > caller.budget.nanodollars:
        raise budgets.too_dear(caller.budget, nanodollars)
    most = caller.limits.tokens_per_minute
    if most is not None and tokens > most:
        raise rules.too_many(tokens, most)


class Late(Protocol):
    """Whoever is told that another process's turn does not end."""

    def late(self, error: BaseException) -> StoreUnavailable: ...


async def patiently(work: Callable[[], T], limiter: Late) -> T:
    """Do it once the other process's turn is over: it takes microseconds, unless the process was stopped in it.

    Raises what `work` raises, and `StoreUnavailable` for a turn that does not end.
    """
    until, pause = time.monotonic() + PATIENCE, PAUSE
    while True:
        try:
            return work()
        except Busy as error:
            if time.monotonic() >= until:
                # The cause: a turn that does not end says nothing against the board.
                raise limiter.late(error.__cause__ or error) from error
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
