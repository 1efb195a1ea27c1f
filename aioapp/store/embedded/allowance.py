"""Admits requests, and reserves slots, tokens and money for generations, within what each client may do and spend."""
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from aioapp.callers import Client, Spent
from aioapp.errors import StoreUnavailable
from aioapp.limits.remaining import Standing
from aioapp.store.embedded.board import budgets, rules
from aioapp.store.embedded.board.board import Board
from aioapp.store.embedded.board.directory import Mark, Table
from aioapp.store.embedded.board.share import Share
from aioapp.store.embedded.board.turns import Turns

MOST = 10**12
"""Tokens that one generation can have used: whatever says more is wrong, and must not break the sums."""

log = logging.getLogger("aioapp.limits")


class Reservation:
    """A slot, tokens and money that are held until `settle`."""

    __slots__ = ("_settle",)

    def __init__(self, settle: Callable[[int], None] | None = None) -> None:
        self._settle = settle

    def settle(self, tokens: int) -> None:
        """Give back what is held, and count the tokens that were really used. Only the first call counts.

        What was spent is charged right after, and nothing is awaited in between: it is the same turn, so no other call
        sees money that is neither held nor spent. It raises nothing, for whoever settles has other things to end: where
        the board cannot be used, it is done as soon as it can be.
        """
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(tokens)


class Limiter:
    """Holds clients to their limits and budgets. The board is opened when the first client comes that has any.

    A board that cannot be used is `StoreUnavailable` to whoever asks, and is opened anew each time somebody asks. What
    is given back meanwhile is given back when it can be used again.
    """

    def __init__(self, open_board: Callable[[], Board], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._turns = Turns(open_board, clock=clock)

    def admit(self, client: Client) -> int:
        """Count one request. Returns the second it was counted in, for `refund`.

        Raises `LimitReached` or `StoreUnavailable`.
        """
        limit = client.limits.requests_per_minute
        if limit is None:
            return 0
        return self._turns.turn(
            lambda table, now: rules.admit(table.account(client.account, int(now)), now, limit=limit))

    def refund(self, client: Client, second: int) -> None:
        """Take a request that was counted in `second` out of the count again, because something else refused it.

        Where the board cannot be used, it stays counted for its minute.
        """
        if client.limits.requests_per_minute is not None:
            try:
                self._turns.turn(
                    lambda table, now: table.account(client.account, int(now)).requests.take(second, 1))
            except StoreUnavailable:
                log.debug("A request stays counted that was refused.")

    def reserve(self, client: Client, tokens: int, *, nanodollars: int = 0, spent: Spent | None = None) -> Reservation:
        """A slot, so many tokens and so much money, all or nothing, until they are settled.

        `spent` is what the database is known to say, for a client that has a budget; `Stale` is raised where that is
        too old. Raises `BudgetSpent`, `LimitReached`, `StoreUnavailable`, or `BadRequest` where waiting would not help.
        """
        limits, wanted = client.limits, None
        if spent is not None and client.budget is not None:
            wanted = budgets.Wanted(client.budget, nanodollars, spent)
            if nanodollars > client.budget.nanodollars:
                raise budgets.too_dear(client.budget, nanodollars)
        if wanted is None and limits.tokens_per_minute is None and limits.concurrency is None:
            return Reservation()
        if limits.tokens_per_minute is not None and tokens > limits.tokens_per_minute:
            raise rules.too_many(tokens, limits.tokens_per_minute)
        return self._turns.turn(partial(self._reserve, client=client, tokens=tokens, wanted=wanted))

    def charge(self, client: Client, nanodollars: int) -> None:
        """So much was spent, and is not in the database yet. Raises nothing; it is to be told to `written` later."""
        name = client.account
        self._turns.keep(name, self._turns.share(name).plus(Share(unwritten=nanodollars)))
        self._turns.owe(partial(self._tell, name=name))

    def written(self, charges: Mapping[tuple[str, str], int]) -> None:
        """What was charged is in the database now: so much of each account and day. Raises nothing."""
        for (name, day), nanodollars in charges.items():
            self._turns.keep(name, self._turns.share(name).minus(Share(unwritten=nanodollars)))
            self._turns.owe(partial(self._wrote, name=name, day=day, nanodollars=nanodollars))

    def mark(self) -> Mark | None:
        """The moment as of which what is read from the database after this is true, for `Spent`. None: nobody knows.

        To be asked twice a second at least: so a process tells what it has in flight, where the board was lost.
        """
        if self._turns.idle:
            return None
        try:
            return self._turns.turn(lambda table, now: table.mark())
        except StoreUnavailable:
            return None

    def standing(self, client: Client) -> Standing:
        """Where the client stands with its limits. Raises `StoreUnavailable`."""
        limits = client.limits
        if limits.requests_per_minute is None and limits.tokens_per_minute is None and limits.concurrency is None:
            return Standing()
        return self._turns.turn(
            lambda table, now: rules.standing(table.account(client.account, int(now)), now, limits=limits))

    def close(self) -> None:
        """Let the board go. What is still in flight counts as left by a process that has ended."""
        self._turns.close()

    def _reserve(
            self, table: Table, now: float, *, client: Client, tokens: int, wanted: budgets.Wanted | None,
    ) -> Reservation:
        name, second = client.account, int(now)
        account = table.account(name, second)
        if wanted is not None:
            budgets.learn(table, account, second=second, wanted=wanted)
        rules.reserve(account, now, tokens=tokens, limits=client.limits, wanted=wanted, ended=table.board.ended)
        held = Share(1, tokens, 0 if wanted is None else wanted.nanodollars)
        share = self._turns.share(name).plus(held)
        table.put(account, second, name=name, share=share)
        self._turns.keep(name, share)
        return Reservation(partial(self._settle, name=name, held=held))

    def _settle(self, tokens: int, *, name: str, held: Share) -> None:
        self._turns.keep(name, self._turns.share(name).minus(held))
        self._turns.owe(partial(self._used, name=name, tokens=min(tokens, MOST)))

    def _tell(self, table: Table, second: int, *, name: str) -> None:
        table.tell(name, self._turns.share(name), second=second)

    def _used(self, table: Table, second: int, *, name: str, tokens: int) -> None:
        table.tell(name, self._turns.share(name), second=second).count_tokens(second, tokens)

    def _wrote(self, table: Table, second: int, *, name: str, day: str, nanodollars: int) -> None:
        account = table.account(name, second)
        account.purse.wrote(nanodollars, day=day, moment=table.next_moment())  # first: killed here, it counts twice
        table.put(account, second, name=name, share=self._turns.share(name))
