"""Admits requests, and reserves slots and tokens for generations, within what each client may do."""
import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from aioapp.clients import Client
from aioapp.errors import StoreUnavailable
from aioapp.limits import rules
from aioapp.limits.account import Account
from aioapp.limits.board import Board
from aioapp.limits.standing import Standing
from aioapp.limits.table import Table

T = TypeVar("T")
Work = Callable[[Account, float], T]

RETRY_AFTER = 1
MOST = 10**12
"""Tokens that one generation can have used: whatever says more is wrong, and must not break the sums."""

log = logging.getLogger("aioapp.limits")


class Held:
    """Tokens and a slot that are held at a place for the account `name`."""

    __slots__ = ("name", "place", "table", "tokens")

    def __init__(self, name: str, tokens: int, *, place: Account, table: Table) -> None:
        self.name = name
        self.tokens = tokens
        self.place = place
        self.table = table


class Reservation:
    """A slot and tokens that are held until `settle`."""

    __slots__ = ("_settle",)

    def __init__(self, settle: Callable[[int], None] | None = None) -> None:
        self._settle = settle

    def settle(self, tokens: int) -> None:
        """Give back what is held, and count what was really used. Only the first call counts.

        It raises nothing, for whoever settles has other things to end: where the board cannot be used, it is done as
        soon as it can be.
        """
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(tokens)


class Limiter:
    """Holds clients to their limits. The board is opened when the first client comes that has any.

    A board that cannot be used is `StoreUnavailable` to whoever asks, and is opened anew each time somebody asks. What
    is given back meanwhile is given back when it can be used again.
    """

    def __init__(self, open_board: Callable[[], Board], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_board = open_board
        self._clock = clock
        self._table: Table | None = None
        self._owed: list[tuple[Held, int]] = []
        self._failing = False

    def admit(self, client: Client) -> int:
        """Count one request. Returns the second it was counted in, for `refund`.

        Raises `LimitReached` or `StoreUnavailable`.
        """
        limit = client.limits.requests_per_minute
        if limit is None:
            return 0
        return self._turn(partial(rules.admit, limit=limit), client.account)

    def refund(self, client: Client, second: int) -> None:
        """Take a request that was counted in `second` out of the count again, because something else refused it.

        Where the board cannot be used, it stays counted for its minute.
        """
        if client.limits.requests_per_minute is not None:
            try:
                self._turn(lambda account, now: account.requests.take(second, 1), client.account)
            except StoreUnavailable:
                log.debug("A request stays counted that was refused.")

    def reserve(self, client: Client, tokens: int) -> "Reservation":
        """A slot and as many tokens, both or neither, until they are settled.

        Raises `LimitReached`, `StoreUnavailable`, or `BadRequest` where waiting would not help.
        """
        limits = client.limits
        if limits.tokens_per_minute is None and limits.concurrency is None:
            return Reservation()
        if limits.tokens_per_minute is not None and tokens > limits.tokens_per_minute:
            raise rules.too_many(tokens, limits.tokens_per_minute)
        return self._turn(partial(self._reserve, client=client, tokens=tokens), client.account)

    def standing(self, client: Client) -> Standing:
        """Where the client stands with its limits. Raises `StoreUnavailable`."""
        limits = client.limits
        if limits.requests_per_minute is None and limits.tokens_per_minute is None and limits.concurrency is None:
            return Standing()
        return self._turn(partial(rules.standing, limits=limits), client.account)

    def close(self) -> None:
        """Let the board go. What is still in flight counts as left by a process that has ended."""
        self._pay_up()
        self._drop()

    def _drop(self) -> None:
        table, self._table = self._table, None
        if table is not None:
            table.board.close()

    def _reserve(self, account: Account, now: float, *, client: Client, tokens: int) -> "Reservation":
        table = self._table
        assert table is not None
        rules.reserve(account, now, tokens=tokens, limits=client.limits, ended=table.board.ended)
        return Reservation(partial(self._settle, Held(client.account, tokens, place=account, table=table)))

    def _settle(self, held: Held, tokens: int) -> None:
        """Settle with the next turn, and have one before the event loop turns to anything else.

        A response's headers often need a turn just then, and a turn's lock is the dearest part of all this.
        """
        self._owed.append((held, min(tokens, MOST)))
        try:
            asyncio.get_running_loop().call_soon(self._pay_up)
        except RuntimeError:  # no loop runs
            self._pay_up()

    def _pay_up(self) -> None:
        if self._owed:
            try:
                self._turn(nothing, self._owed[0][0].name)
            except StoreUnavailable:
                log.debug("A reservation is settled when the counts can be used again.")

    def _turn(self, work: Work[T], name: str) -> T:
        """Do `work` on the counts of the account `name`, after what is owed, and with no other process in between."""
        try:
            table = self._opened()
            with table as now:
                if self._owed:
                    self._pay(table, int(now))
                result = work(table.account(name, int(now)), now)
        except OSError as error:
            self._report(error)
            raise StoreUnavailable("Try again in a moment.", retry_after=RETRY_AFTER) from error
        if self._failing:
            log.warning("The counts of the limits can be used again.")
            self._failing = False
        return result

    def _pay(self, table: Table, second: int) -> None:
        owed, self._owed = self._owed, []
        for held, tokens in owed:
            if held.table is table:
                held.place.release(held.tokens)
            # Looked up anew: an account that shared the overflow may have a place of its own by now.
            table.account(held.name, second).count_tokens(second, tokens)

    def _opened(self) -> Table:
        if self._table is not None and self._table.board.lost():
            self._drop()
        if self._table is None:
            board = self._open_board()
            try:
                self._table = Table(board, clock=self._clock)
            except BaseException:
                board.close()
                raise
        return self._table

    def _report(self, error: OSError) -> None:
        """Once, until it recovers. Where we came too late for a turn, the board is as good as it was."""
        if not isinstance(error, TimeoutError):
            self._drop()
        if not self._failing:
            log.error("The counts of the limits cannot be used: %s", error)
        self._failing = True


def nothing(account: Account, now: float) -> None:
    """A turn that only pays what is owed."""
