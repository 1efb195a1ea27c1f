"""Where the counts lie: in the memory of this process, or in a file that all processes of the machine share."""
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from aioapp.store.embedded.board.account import ANEW, SIZE

ACCOUNTS = 2048
WORDS = (ACCOUNTS + 1) * SIZE - ANEW
"""A place for each account, one that the others share, and the words behind them."""


class Board(Protocol):
    """64-bit numbers, all 0 in the beginning. `with board:` keeps every other process from them.

    `process_slot` is the number of this process among those that use them. What cannot be done is an `OSError`;
    where it is a `TimeoutError`, the board is still good. `Lost` says that it is not, or no longer the one that others
    would open: another one must be opened.
    """

    words: memoryview
    process_slot: int
    patience: float
    """Seconds that a turn waits for another process's to end."""
    anew: bool
    """Whether it takes the place of one that was lost, and others may not have come here yet."""

    def __enter__(self) -> object: ...

    def __exit__(self, *raised: object) -> None: ...

    def trim(self) -> None:
        """Let the memory go that was only looked at: all of it was, when it was opened."""

    def ended(self, columns: Iterable[int]) -> list[int]:
        """Which of the processes that had these columns have ended."""

    def discard(self) -> bool:
        """What lies here makes no sense: have all who use it open a new one. False where that has been done before."""

    def close(self) -> None: ...


class PrivateBoard:
    """A board of this process alone."""

    def __init__(self) -> None:
        self.words = memoryview(bytearray(8 * WORDS)).cast("q")
        self.process_slot = 0
        self.patience = 0.0
        self.anew = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *raised: object) -> None:
        pass

    def trim(self) -> None:
        pass

    def ended(self, columns: Iterable[int]) -> list[int]:
        return [process_slot for process_slot in columns if process_slot != self.process_slot]

    def discard(self) -> bool:
        self.words[:] = memoryview(bytes(8 * WORDS)).cast("q")
        return True

    def close(self) -> None:
        self.words.release()


def open_board(folder: Path, *, patience: float = 0.25) -> Board:
    """The board in `folder`, shared by all who open it; on Windows, one of this process alone.

    `patience` is in seconds, for the turn of another process. Raises `OSError`.
    """
    try:
        from aioapp.store.embedded.board.file import SharedBoard
    except ImportError:  # Windows has no flock
        return PrivateBoard()
    return SharedBoard(folder, patience=patience)
