"""One connection in one thread: whatever the database is asked, it is asked in order, and never on the event loop.

A database that cannot be used is `StoreUnavailable` to whoever asks, and is opened anew each time somebody asks, so it
recovers by itself. One that another process holds stays open: it can be read meanwhile. One that has gone is not made
anew: an empty one would know no keys.
"""
import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aioapp.errors import StoreUnavailable
from aioapp.store.embedded.errors import FAILURES, reason, sound
from aioapp.store.embedded.marker import check_kept, check_new, remember
from aioapp.store.embedded.outages import Outages
from aioapp.store.embedded.schema import migrate

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

PATIENCE = 1.0
"""Seconds to wait for a lock that another process holds."""
RETRY_AFTER = 5
HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class Database:
    """The database at `path`; with `create`, it is made where there is none, once. `outages` is told of failures."""

    def __init__(self, path: Path, *, create: bool, outages: Outages | None = None) -> None:
        self._path = path
        self._create = create
        self._outages = Outages(path) if outages is None else outages
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aioapp-store")
        self._thread.submit(int)  # begins it now: work for which no thread begins fails, and is yet done with the next
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None

    async def read(self, work: Work[T]) -> T:
        """What `work` makes of the database. Raises `StoreUnavailable`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._done, work, "DEFERRED")

    async def write(self, work: Work[T]) -> T:
        """As `read`, in a transaction that holds all of what `work` writes, or nothing. Raises `StoreUnavailable`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._done, work, "IMMEDIATE")

    async def close(self) -> None:
        """Finish what was asked, and let the file go."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._forget)
        self._thread.shutdown()

    def _done(self, work: Work[T], kind: str) -> T:
        try:
            result = transacted(self._open(), work, kind=kind)
        except FAILURES as error:
            if not is_held(error):
                self._forget()
            self._outages.report(name_of(work), reason(error))
            raise StoreUnavailable("Try again in a moment.", retry_after=RETRY_AFTER) from error
        if self._outages.known:
            self._outages.recover(name_of(work))
        return result

    def _open(self) -> sqlite3.Connection:
        """The connection, which is closed first where its file is no longer the one that lies at its path."""
        if not self._create and self._inode != inode(self._path):
            self._forget()
        if self._connection is None:
            self._connection = connect(self._path, create=self._create)
            self._inode, self._create = inode(self._path), False
        return self._connection

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def name_of(work: object) -> str:
    """The name of the function, whichever arguments it is given."""
    return str(getattr(getattr(work, "func", work), "__qualname__", ""))


def is_held(error: Exception) -> bool:
    """Whether it is only that another process holds the database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in HELD  # the rest of the code says more exactly why


def transacted(connection: sqlite3.Connection, work: Work[T], *, kind: str = "IMMEDIATE") -> T:
    """What `work` makes of the database, all of it or nothing. Raises what `FAILURES` holds, and what `work` raises."""
    with sound(foreseen=UnicodeDecodeError):
        connection.execute(f"BEGIN {kind}")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return result


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """A connection to the database at `path`, up to date; readable by its owner only.

    Raises what `FAILURES` holds.
    """
    if create:
        check_new(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None,
        check_same_thread=False)
    try:
        with sound():
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # with WAL, what is committed survives the process's end
            connection.execute("PRAGMA foreign_keys = ON")
            migrate(connection)
            check_kept(connection, path)
            remember(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def inode(path: Path) -> tuple[int, int]:
    """What tells the file at `path` from another one that takes its place. Raises `OSError` where there is none."""
    found = os.stat(path)
    return found.st_dev, found.st_ino
