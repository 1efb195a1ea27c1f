"""A board in a file that every process on the machine maps into its memory, one at a time using it.

The lock on the file is the kernel's: a process that is killed while it holds it has let go of it. As long as it lives
it holds another lock, on a small file of its own, which tells all others that its column is in use.
"""
import errno
import os
import stat
import time
from collections.abc import Iterable
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from mmap import mmap
from pathlib import Path

from aioapp.limits.account import PROCESSES
from aioapp.limits.account import SIZE as ACCOUNT
from aioapp.limits.board import ACCOUNTS, WORDS

LAYOUT = 1
"""Counts every change of where something lies. Each layout has its own file: processes of two versions may both run."""
NAME = f"counts-{LAYOUT}"
HEADER = f"aioapp limits, layout {LAYOUT}, {ACCOUNTS} of {ACCOUNT} words".encode().ljust(64, b"\0")
SIZE = len(HEADER) + 8 * WORDS
PATIENCE = 0.25
"""Seconds to wait for a process that is slow to let go: a turn takes microseconds."""
PAUSE = 0.0001


class SharedBoard:
    """The board in `folder`, which is made where there is none. Only its owner can read it. Raises `OSError`.

    It must not be used across a fork. `look` is how many seconds pass from one look at the file's state to the next.
    """

    def __init__(self, folder: Path, *, look: float = 1.0) -> None:
        self._files: list[int] = []
        try:
            self._folder = self._keep(open_folder(folder))
            self._file = self._keep(self._open(NAME))
            self._map = self._mapped()
            self.words = memoryview(self._map)[len(HEADER):].cast("q")
            self.column = self._column()
        except BaseException:
            self._let_go()
            raise
        self._path = folder / NAME
        self._look, self._looked = look, time.monotonic()

    def __enter__(self) -> None:
        try:
            flock(self._file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            self._wait()

    def __exit__(self, *raised: object) -> None:
        flock(self._file, LOCK_UN)

    def ended(self, columns: Iterable[int]) -> list[int]:
        return [column for column in columns if column != self.column and self._has_ended(column)]

    def lost(self) -> bool:
        """The file may have been removed, replaced, or cut: to touch what was cut off would end us by a signal."""
        now = time.monotonic()
        if now - self._looked < self._look:
            return False
        self._looked = now
        try:
            there, ours = os.stat(self._path, follow_symlinks=False), os.fstat(self._file)
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, ours) or ours.st_size < SIZE

    def close(self) -> None:
        self.words.release()
        self._map.close()
        self._let_go()

    def _mapped(self) -> mmap:
        """The file in memory, as long as it must be, and blank where it was not ours."""
        with self:
            length = os.fstat(self._file).st_size
            if length < SIZE:
                allocate(self._file)
            mapped = mmap(self._file, SIZE)
            if mapped[:len(HEADER)] != HEADER:
                if length:
                    mapped[:] = bytes(SIZE)  # in place, for whoever else has mapped it
                mapped[:len(HEADER)] = HEADER
        return mapped

    def _column(self) -> int:
        """Take the first column that nobody has."""
        for column in range(PROCESSES):
            file = self._open(f"process-{column:03}")
            if locked(file):
                self._keep(file)
                return column
            os.close(file)
        raise OSError(errno.EUSERS, f"{PROCESSES} processes use it already")

    def _has_ended(self, column: int) -> bool:
        try:
            file = self._open(f"process-{column:03}")
        except OSError:  # no more files may be open: nobody is declared dead for that
            return False
        try:
            return locked(file)
        finally:
            os.close(file)

    def _wait(self) -> None:
        """Bounded, for a process that was stopped in its turn must not stop all others."""
        until = time.monotonic() + PATIENCE
        while not locked(self._file):
            if time.monotonic() > until:
                raise TimeoutError(errno.ETIMEDOUT, "another process does not let go of the lock")
            time.sleep(PAUSE)

    def _open(self, name: str) -> int:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=self._folder)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, "it is no plain file", name)
        return file

    def _keep(self, file: int) -> int:
        self._files.append(file)
        return file

    def _let_go(self) -> None:
        while self._files:
            os.close(self._files.pop())


def open_folder(folder: Path) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def allocate(file: int) -> None:
    """Give the file its size, and the disk's blocks for all of it: to write to a map of a hole on a full disk kills."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, SIZE)
    else:  # macOS
        os.pwrite(file, bytes(SIZE), 0)


def locked(file: int) -> bool:
    """Whether the lock was free, and is now ours."""
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True
