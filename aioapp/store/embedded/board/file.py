"""A board in a file that every process on the machine maps into its memory, one at a time using it.

The lock on the file is the kernel's: a process that is killed while it holds it has let go of it. As long as it lives
it holds another lock, on a small file of its own, which tells all others that its slot is in use.

Whoever cuts a file that is mapped ends by a signal (SIGBUS) whoever then touches what was cut off. So each turn first
looks, under the lock, whether the file is whole: only within the microseconds of a turn could it still be cut. Reading
and writing without a map would cost five calls of the system a turn; memory that nobody can cut has no name.
"""
import errno
import logging
import math
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from mmap import MADV_DONTNEED, mmap
from pathlib import Path

from aioapp.store.embedded.board.account import PROCESSES
from aioapp.store.embedded.board.account import SIZE as ACCOUNT
from aioapp.store.embedded.board.board import ACCOUNTS, WORDS
from aioapp.store.embedded.board.faults import Lost
from aioapp.store.embedded.board.locks import PATIENCE, lock, locked

LAYOUT = 2
"""Counts every change of where something lies. Each layout has its own file: processes of two versions may both run."""
NAME = f"counts-{LAYOUT}"
HEADER = f"aioapp limits, layout {LAYOUT}, {ACCOUNTS} of {ACCOUNT} words".encode().ljust(64, b"\0")
DISCARDED = b"discarded".ljust(len(HEADER), b"\0")
SIZE = len(HEADER) + 8 * WORDS + len(HEADER)
"""What stands at its head stands at its end too: who cuts the file takes that off, though it grow again."""

log = logging.getLogger("aioapp.limits")


class SharedBoard:
    """The board in `folder`, which is made where there is none. Only its owner can read it. Raises `OSError`.

    It must not be used across a fork. `poll` is how many seconds pass from one look at the file's path to the next.
    """

    def __init__(self, folder: Path, *, poll: float = 1.0, patience: float = PATIENCE) -> None:
        self.anew = False
        self.patience = patience
        self._files: list[int] = []
        try:
            self._folder = self._keep(open_folder(folder))
            self._file = self._keep(self._whole())
            self._map = mmap(self._file, SIZE)
            self.words = memoryview(self._map)[len(HEADER):-len(HEADER)].cast("q")
            self.process_slot = self._process_slot()
        except BaseException:
            self._let_go()
            raise
        self._path = folder / NAME
        self._poll, self._polled = poll, time.monotonic()

    def __enter__(self) -> None:
        if time.monotonic() - self._polled >= self._poll:
            self._look()
        try:
            flock(self._file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            lock(self._file, patience=self.patience)
        whole = os.lseek(self._file, 0, os.SEEK_END) >= SIZE  # before the map is touched, and cheaper than fstat
        if not whole or not HEADER == self._map[:len(HEADER)] == self._map[-len(HEADER):]:
            flock(self._file, LOCK_UN)
            raise Lost()

    def __exit__(self, *raised: object) -> None:
        flock(self._file, LOCK_UN)

    def trim(self) -> None:
        self._map.madvise(MADV_DONTNEED)  # the file keeps it

    def ended(self, columns: Iterable[int]) -> list[int]:
        return [process for process in columns if process != self.process_slot and self._has_ended(process)]

    def _look(self) -> None:
        """It may have been moved, and another one be in its place. Where it was removed, all others are told."""
        self._polled, ours = time.monotonic(), os.fstat(self._file)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path, follow_symlinks=False), ours):
                return
        if not ours.st_nlink:
            self.discard()
        raise Lost()

    def discard(self) -> bool:
        """Say so in its header: whoever has it open loses it, and whoever opens it next makes another one."""
        self._polled = math.inf  # it need not be looked for any more
        try:
            with self:
                self._map[:len(HEADER)] = DISCARDED
        except Lost:
            return False
        return True

    def close(self) -> None:
        self.words.release()
        self._map.close()
        self._let_go()

    def _whole(self) -> int:
        """The file as it must be. One that is not so is replaced, never mended: others may have mapped it."""
        while True:
            file = self._open(NAME)
            try:
                lock(file, patience=self.patience)
                if is_whole(file):
                    flock(file, LOCK_UN)
                    return file
                if os.fstat(file).st_nlink:  # else another process has replaced it while we waited
                    self._replace(file)
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def _replace(self, old: int) -> None:
        """Put a new file in the place of `old`, of which we hold the lock."""
        made = f"{NAME}.new"
        file = self._open(made)
        try:
            os.ftruncate(file, 0)
            allocate(file)
            os.pwrite(file, HEADER, 0)
            os.pwrite(file, HEADER, SIZE - len(HEADER))
            os.rename(made, NAME, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except BaseException:
            os.unlink(made, dir_fd=self._folder)
            raise
        finally:
            os.close(file)
        before = os.pread(old, len(HEADER), 0)
        self.anew = before != b"" or self._has_others()
        os.pwrite(old, DISCARDED, 0)
        if before not in (b"", DISCARDED):
            log.error("The counts of the limits were damaged by another program, and begin anew.")

    def _process_slot(self) -> int:
        """Take the first slot that nobody has."""
        for process_slot in range(PROCESSES):
            file = self._open(f"process-{process_slot:03}")
            if locked(file):
                self._keep(file)
                return process_slot
            os.close(file)
        raise OSError(errno.EUSERS, f"{PROCESSES} processes use it already")

    def _has_ended(self, process_slot: int) -> bool:
        try:
            file = self._open(f"process-{process_slot:03}")
        except OSError:  # no more files may be open: nobody is declared dead for that
            return False
        try:
            return locked(file)
        finally:
            os.close(file)

    def _has_others(self) -> bool:
        """Whether other processes count here: if there was no file, they counted in one that somebody removed."""
        files = set(os.listdir(self._folder))
        return any(f"process-{process:03}" in files and not self._has_ended(process) for process in range(PROCESSES))

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


def is_whole(file: int) -> bool:
    ends = os.pread(file, len(HEADER), 0), os.pread(file, len(HEADER), SIZE - len(HEADER))
    return ends == (HEADER, HEADER)


def allocate(file: int) -> None:
    """Give the file its size, and the disk's blocks for all of it: to write to a map of a hole on a full disk kills."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, SIZE)
    else:  # macOS
        os.pwrite(file, bytes(SIZE), 0)
