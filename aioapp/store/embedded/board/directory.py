"""All accounts on a board: which place is whose.

A place is looked for from where the account's hash points, and a little further. It is taken from an account of which
nothing counts any more. Where there is none, the account shares one place, the overflow, with all others for whom there
was none: each of them is then held to its limits as if all had been its own doing, and none has a budget to spend.
"""
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from aioapp.errors import AppError
from aioapp.store.embedded.board.account import ANEW, COLUMNS, MOMENT, NOBODY, SIZE, TURN, Account, Key
from aioapp.store.embedded.board.board import ACCOUNTS, Board
from aioapp.store.embedded.board.share import NOTHING, WIDTH, Share

REACH = 64
"""How many places are looked at."""
REMEMBERED = 4 * ACCOUNTS
SETTLING = 3
"""Seconds within which every process has come from a board that was lost, each of which looks twice a second."""


class Mark(NamedTuple):
    """A moment, among those at which somebody was about to read the database, or had written to it. Moments of another
    directory say nothing."""

    directory: "Directory"
    number: int


class Directory:
    """The accounts on `board`. `with directory as now:` is a turn: for its length, nobody else reads or changes them.

    Each turn is marked on the board while it lasts, so that the next one sees where a process was killed in its own,
    and adds the sums up anew.
    """

    def __init__(self, board: Board, *, clock: Callable[[], float]) -> None:
        self.board = board
        self._clock = clock
        self._accounts: dict[int, Account] = {}
        self._known: dict[str, tuple[Account, Key]] = {}
        self._crowd: dict[str, Share] = {}
        self._checked_name: str | None = None  # the account that was looked at in this turn already
        self.overflow = self._checked = Account(board.words, ACCOUNTS * SIZE, process_slot=board.process_slot)
        with self as now:
            self._inherit(int(now))
        board.trim()

    def __enter__(self) -> float:
        self.board.__enter__()
        try:
            now, words = self._clock(), self.board.words
            if words[TURN]:
                self._repair(int(now))
            words[TURN] = 1
            self._checked_name = None
        except BaseException:
            self.board.__exit__()
            raise
        return now

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None or issubclass(kind, AppError):
            self.board.words[TURN] = 0
        self.board.__exit__(kind, *rest)

    def mark(self) -> Mark:
        return Mark(self, self.next_moment())

    def number(self, mark: object) -> int:
        """The number of the moment; less than any where it is not known."""
        return mark.number if isinstance(mark, Mark) and mark.directory is self else -1

    def account(self, name: str, second: int) -> Account:
        """The place of the account of this name, which may be the overflow. Raises `Damaged`."""
        if name == self._checked_name:
            return self._checked
        known = self._known.get(name)
        if known is not None and known[0].check(known[1]):
            account = known[0]
        else:
            account = self._sought(name, second)
            account.check()
        self._checked_name, self._checked = name, account
        return account

    def tell(self, name: str, share: Share, *, second: int) -> Account:
        """This process has so much in flight of the account of this name, which is given."""
        account = self.account(name, second)
        self.put(account, second, name=name, share=share)
        return account

    def put(self, account: Account, second: int, *, name: str, share: Share) -> None:
        """As `tell`, where the account is known. Of the overflow, it has all that it has of those who share it."""
        if account is self.overflow or name in self._crowd:
            self._crowd[name] = share if account is self.overflow else NOTHING
            self.overflow.put(second, Share(*map(sum, zip(*self._crowd.values()))))
            self._crowd = {name: share for name, share in self._crowd.items() if any(share)}
        if account is not self.overflow:
            account.put(second, share)

    def next_moment(self) -> int:
        """The number of now, greater than that of any moment before."""
        self.board.words[MOMENT] += 1
        return int(self.board.words[MOMENT])

    def come(self, second: int) -> None:
        """We come from a board that was lost. Others may still be on their way, and hold what is not known here."""
        self.board.words[ANEW] = second + 1

    def is_settling(self, second: int) -> bool:
        came = self.board.words[ANEW]
        return bool(came) and 0 <= second + 1 - came <= SETTLING

    def _sought(self, name: str, second: int) -> Account:
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
            account.check()
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
                self.board.words, number * SIZE, process_slot=self.board.process_slot, overflow=self.overflow)
        return account

    def _inherit(self, second: int) -> None:
        """Bury what a process left behind that had our slot before us."""
        begin = COLUMNS + WIDTH * self.board.process_slot
        kinds = [self.board.words[begin + kind:(ACCOUNTS + 1) * SIZE:SIZE].tolist() for kind in range(WIDTH)]
        for number, share in enumerate(zip(*kinds)):
            if any(share):
                self._at(number).bury(second, self.board.process_slot)

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
