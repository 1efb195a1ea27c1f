"""A database that has held keys is never taken for a new one."""
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from aioapp.store.embedded.database import connect, transacted
from aioapp.store.embedded.marker import marker_of
from tests.keyed import database, make_key


def test_a_database_that_has_held_keys_is_not_made_anew() -> None:
    make_key()
    connect(database(), create=True).close()
    for path in database().parent.glob("aioapp.db*"):
        if path != marker_of(database()):
            path.unlink()
    with pytest.raises(FileNotFoundError, match="aioapp.db-guarded to begin from nothing"):
        connect(database(), create=True)
    assert not database().exists()


def test_a_database_that_has_lost_its_keys_is_refused() -> None:
    make_key()
    with closing(connect(database(), create=False)) as connection:
        transacted(connection, lambda held: [held.execute(f"DELETE FROM {table}") for table in ("secrets", "keys")])
    with pytest.raises(sqlite3.DataError, match="it has lost its keys"):
        connect(database(), create=True)


def test_whoever_removes_the_mark_may_begin_from_nothing() -> None:
    make_key()
    connect(database(), create=True).close()
    marker_of(database()).unlink()
    database().unlink()
    connect(database(), create=True).close()
    assert database().exists() and not marker_of(database()).exists()


def test_a_database_without_keys_leaves_no_mark(tmp_path: Path) -> None:
    for _ in range(2):
        connect(tmp_path / "db", create=True).close()
        (tmp_path / "db").unlink()
    assert not marker_of(tmp_path / "db").exists()
