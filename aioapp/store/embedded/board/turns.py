"""Turns at a board: one process at a time, on a board that is opened, given up and opened anew as need be.

Whatever is wrong with the board, whoever asks for a turn gets `StoreUnavailable` or what it asked for, nothing else.
"""
import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from aioapp.errors import AppError, StoreUnavailable
from aioapp.store.embedded.board.board import Board
from aioapp.store.embedded.board.directory import Directory
from aioapp.store.embedded.board.faults import Lost
from aioapp.store.embedded.board.share import NOTHING, Share

T = TypeVar("T")
Work = Callable[[Directory, float], T]
"""What is done in a turn, at a time of the clock."""
Debt = Callable[[Directory, int], None]

RETRY_AFTER = 1
SOON = 0.001
"""Seconds until what is owed is tried again, where another process had its turn."""


class Busy(StoreUnavailable):
    """Another process has its turn: try again in a moment."""


log = logging.getLogger("aioapp.limits")


class Turns:
    """The board is opened with the first turn. One that cannot be used is `StoreUnavailable`, and is opened anew each
    time somebody asks. One that makes no sense is made anew at once. What is owed to it meanwhile is paid then.

    `shares` are what this process has in flight, by account: a new board is told of all of them. Unless it is `waiting`
    for other processes' turns to end, whoever comes into one gets `Busy`, and `late` tells of one that does not end.
    """

    def __init__(self, open_board: Callable[[], Board], *, clock: Callable[[], float], waiting: bool) -> None:
        self.shares: dict[str, Share] = {}
        self._open_board = open_board
        self._clock = clock
        self._waiting = waiting
        self._directory: Directory | None = None
        self._owed: list[Debt] = []
        self._failing = False
        self._homeless = False

    @property
    def idle(self) -> bool:
        """Whether there is no board, and nothing that it would have to be told."""
        return self._directory is None and not self.shares and not self._owed

    def turn(self, work: Work[T]) -> T:
        """Do `work` on the directory, after what is owed, with no other process in between.

        Raises what `work` refuses with, `StoreUnavailable`, or `Busy`.
        """
        try:
            try:
                result = self._once(work)
            except (AppError, OSError):
                raise
            except Exception as error:
                self._leave(error)
                result = self._once(work)
        except AppError:
            raise
        except TimeoutError as error:
            if not self._waiting:
                raise Busy("Try again in a moment.", retry_after=RETRY_AFTER) from error
            raise self.late(error) from error
        except Exception as error:  # whatever it was: it must cut no answer
            self._report(error)
            raise StoreUnavailable("Try again in a moment.", retry_after=RETRY_AFTER) from error
        if self._failing:
            log.warning("The counts of the limits can be used again.")
            self._failing = False
        return result

    def owe(self, debt: Debt) -> None:
        """Have it done with the next turn, and have one before the event loop turns to anything else.

        A response's headers often need a turn just then, and a turn's lock is the dearest part of all this.
        """
        self._owed.append(debt)
        try:
            asyncio.get_running_loop().call_soon(self.pay_up)
        except RuntimeError:  # no loop runs
            self.pay_up()

    def pay_up(self) -> None:
        """Do what is owed, now if that can be."""
        if self._owed:
            try:
                self.turn(nothing)
            except Busy:
                self._later()
            except StoreUnavailable:
                log.debug("What is in flight is settled when the counts can be used again.")

    def late(self, error: BaseException) -> StoreUnavailable:
        """Another process's turn does not end: this tells it, and is what to raise."""
        self._report(error)
        return StoreUnavailable("Try again in a moment.", retry_after=RETRY_AFTER)

    def _later(self) -> None:
        with suppress(RuntimeError):  # no loop runs, and the next turn pays
            asyncio.get_running_loop().call_later(SOON, self.pay_up)

    def share(self, name: str) -> Share:
        return self.shares.get(name, NOTHING)

    def change(self, name: str, more: Share) -> None:
        """This process has so much more in flight of this account, or less. The board is to be told as well."""
        self.keep(name, self.shares.get(name, NOTHING).plus(more))

    def keep(self, name: str, share: Share) -> None:
        """This process has so much in flight of this account from now on. The board is to be told as well."""
        if any(share):
            self.shares[name] = share
        else:
            self.shares.pop(name, None)

    def close(self) -> None:
        """Let the board go. What is still in flight counts as left by a process that has ended."""
        self.pay_up()
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.board.close()

    def _once(self, work: Work[T]) -> T:
        directory = self._directory
        if directory is None:
            directory = self._opened()
        with directory as now:
            if self._owed:
                for debt in self._owed:
                    debt(directory, int(now))
                self._owed.clear()
            return work(directory, now)

    def _opened(self) -> Directory:
        self._leave(Lost())
        board = self._open_board()
        try:
            self._directory = self._joined(Directory(board, clock=self._clock))
            if not self._waiting:
                board.patience = 0.0
        except BaseException as error:
            give_up(board, error)
            raise
        return self._directory

    def _leave(self, error: BaseException) -> None:
        """Let the board go for this. Another one that is opened takes its place."""
        directory, self._directory = self._directory, None
        if directory is not None:
            self._homeless = True
            give_up(directory.board, error)

    def _joined(self, directory: Directory) -> Directory:
        with directory as now:
            if self._homeless or directory.board.anew:
                directory.come(int(now))
            for name, share in self.shares.items():
                directory.tell(name, share, second=int(now))
        self._homeless = False
        return directory

    def _report(self, error: BaseException) -> None:
        """Once, until it recovers. Where we came too late for a turn, the board is as good as it was."""
        if not isinstance(error, TimeoutError):
            self._leave(error)
        if not self._failing:
            log.error("The counts of the limits cannot be used: %s", error)
        self._failing = True


def nothing(directory: Directory, now: float) -> None:
    """A turn that only pays what is owed."""


def give_up(board: Board, error: BaseException) -> None:
    """Let the board go. What else than the system's failures or our refusals comes of it, comes of what lies there."""
    try:
        if isinstance(error, Exception) and not isinstance(error, (AppError, OSError, Lost)) and board.discard():
            log.error("The counts of the limits make no sense, and begin anew: %s: %s", type(error).__name__, error)
    finally:
        board.close()
