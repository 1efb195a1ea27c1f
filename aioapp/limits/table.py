"""All accounts on a board: which place is whose.

A place is looked for from where the account's hash points, and a little further. It is taken from an account of which
nothing counts any more. Where there is none, the account shares one place, the overflow, with all others for whom there
was none: each of them is then held to its limits as if all had been its own doing.
"""
from collections.abc import Callable
from hashlib import blake2b

from aioapp.errors import AppError
from aioapp.limits.account import COLUMNS, NOBODY, SIZE, Account, Key
from aioapp.limits.board import ACCOUNTS, Board

REACH = 64
"""How many places are looked at."""
REMEMBERED = 4 * ACCOUNTS


class Table:
    """The accounts on `board`. `with table as now:` is a turn: for its length, nobody else reads or changes them.

    Each turn is marked on the board while it lasts, so that the next one sees where a process was killed in its own,
    and adds the sums up anew.
    """

    def __init__(self, board: Board, *, clock: Callable[[], float]) -> None:
        self.board = board
        self._clock = clock
        self._accounts: dict[int, Account] = {}
        self._known: dict[str, tuple[Account, Key]] = {}
        self.overflow = Account(board.words, ACCOUNTS * SIZE, column=board.column)
        with self as now:
            self._inherit(int(now))

    def __enter__(self) -> float:
        self.board.__enter__()
        now, words = self._clock(), self.board.words
        if words[-1]:
            self._repair(int(now))
        words[-1] = 1
        return now

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None or issubclass(kind, AppError):
            self.board.words[-1] = 0
        self.board.__exit__(kind, *rest)

    def account(self, name: str, second: int) -> Account:
        """The place of the account of this name, which may be the overflow."""
        known = self._known.get(name)
        if known is not None and known[0].is_of(known[1]):
            return known[0]
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        key = key_of(name)
        found = self._found(key, second)
        if found is not self.overflow:
            self._known[name] = found, key
        return found

    def _found(self, key: Key, second: int) -> Account:
        past: list[Account] = []
        for step in range(REACH):
            account = self._place((key[0] + step) % ACCOUNTS)
            if account.is_of(key):
                return account
            if account.is_of(NOBODY):
                past.append(account)
                break
            if account.is_past(second):
                past.append(account)
        for account in past:
            if not account.is_idle(second):
                account.sweep(second, self.board.ended)
            if account.is_idle(second):
                account.begin(key, second)
                return account
        return self.overflow

    def _place(self, number: int) -> Account:
        account = self._accounts.get(number)
        if account is None:
            account = self._accounts[number] = Account(
                self.board.words, number * SIZE, column=self.board.column, overflow=self.overflow)
        return account

    def _inherit(self, second: int) -> None:
        """Bury what a process left behind that had our column before us."""
        slots = self.board.words[COLUMNS + 2 * self.board.column:(ACCOUNTS + 1) * SIZE:SIZE].tolist()
        for number, taken in enumerate(slots):
            if taken:
                self._at(number).bury(second, self.board.column)

    def _repair(self, second: int) -> None:
        for number in range(ACCOUNTS + 1):
            account = self._at(number)
            if not account.is_of(NOBODY) or account is self.overflow:
                account.repair(second)

    def _at(self, number: int) -> Account:
        return self.overflow if number == ACCOUNTS else self._place(number)


def key_of(name: str) -> Key:
    """128 bits that stand for the name, as two signed numbers. Nobody can find a second name with the same ones."""
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little", signed=True), int.from_bytes(digest[8:], "little", signed=True)
