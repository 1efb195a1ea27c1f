"""Remembers, in a file beside the database, that it has held keys.

One that has gone since, or has lost them, must not be taken for a new one: that would let in everybody.
"""
import errno
from pathlib import Path
from sqlite3 import Connection, DataError


def marker_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-guarded")


def remember(connection: Connection) -> None:
    """Leave the mark, if there are keys. A database in memory leaves none."""
    _, _, path = connection.execute("PRAGMA database_list").fetchone()
    if path and has_keys(connection) and not marker_of(Path(path)).exists():
        marker_of(Path(path)).touch(mode=0o600)


def check_new(path: Path) -> None:
    """Raises `FileNotFoundError` where the database must not be made, because it was there."""
    if not path.exists() and marker_of(path).exists():
        raise FileNotFoundError(errno.ENOENT, (
            "it has held keys, and is gone: bring it back, with its -wal and -shm, or remove "
            f"{marker_of(path).name} to begin from nothing"))


def check_kept(connection: Connection, path: Path) -> None:
    """Raises `DataError` where there were keys and are none."""
    if marker_of(path).exists() and not has_keys(connection):
        raise DataError(f"it has lost its keys: bring it back, or remove {marker_of(path).name} to begin from nothing")


def has_keys(connection: Connection) -> bool:
    [found] = connection.execute("SELECT EXISTS (SELECT 1 FROM keys)").fetchone()
    return bool(found)
