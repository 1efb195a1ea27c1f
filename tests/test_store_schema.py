"""Databases of older versions: brought up to date, with all that they hold."""
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from aioapp.callers import Budget, Limits
from aioapp.keys.key import Key, Secret
from aioapp.money import NANO
from aioapp.store.embedded import keys as table
from aioapp.store.embedded.database import connect
from aioapp.store.embedded.migrations import MIGRATIONS
from aioapp.store.embedded.schema import statements, version_of

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
RELEASED = ("bcd2a537f6db800d",)
"""The beginnings of their digests, of those that users' databases have seen."""
LAST_USED = 6
"""The version from which on it is noted when a key was used; what is known of older requests is taken over."""
KEPT = """
    INSERT INTO keys (name, admin, concurrency, budget, budget_per, models, created_at) VALUES
        ('web', 0, 4, 5000000000, 'day', 'claude-* b', '2026-11-23T09:30:00.000000+00:00'),
        ('ops', 1, NULL, NULL, NULL, '*', '2026-11-23T09:30:00.000000+00:00'),
        ('used', 0, NULL, NULL, NULL, '*', '2026-11-23T09:30:00.000000+00:00');
    INSERT INTO requests (at, request_id, key, model, outcome, input_tokens, output_tokens, cache_creation_input_tokens,
            cache_read_input_tokens, nanodollars, seconds) VALUES
        ('2026-11-23T09:29:00.000+00:00', 'r', 'used', 'm', 'completed', 1, 1, 0, 0, 1, 0.1),
        ('2026-11-23T09:30:00.000+00:00', 'r', 'used', 'm', 'completed', 1, 1, 0, 0, 1, 0.1),
        ('2026-11-23T09:31:00.000+00:00', 'r', '', 'm', 'completed', 1, 1, 0, 0, 1, 0.1);
    INSERT INTO secrets (id, key, digest, created_at) VALUES
        ('0123456789abcdef', 'web', x'ff', '2026-11-23T09:30:00.000000+00:00');
"""
"""As the first version wrote it: then no budget was strict."""
WEB = Key(name="web", limits=Limits(concurrency=4), models=("claude-*", "b"), created_at=AT,
          budget=Budget(nanodollars=5 * NANO, per="day", strict=False))
OPS = Key(name="ops", admin=True, created_at=AT)


def old(path: Path, version: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for script in MIGRATIONS[:version]:
        for statement in statements(script):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version}")
    return connection


def tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def test_a_migration_that_was_released_is_as_it_was() -> None:
    assert tuple(sha256(script.encode()).hexdigest()[:16] for script in MIGRATIONS)[:len(RELEASED)] == RELEASED


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_an_older_database_is_brought_up_to_date_with_its_keys(tmp_path: Path, version: int) -> None:
    with closing(old(tmp_path / "old.db", version)) as connection:
        connection.executescript(KEPT)
    with (closing(connect(tmp_path / "old.db", create=False)) as migrated,
          closing(connect(tmp_path / "new.db", create=True)) as new):
        keys, secrets = table.load(migrated)
        assert keys.pop("used").last_used_at == (AT if version < LAST_USED else None)
        assert list(keys.values()) == [OPS, WEB]
        assert secrets == {"0123456789abcdef": Secret(id="0123456789abcdef", key="web", digest=b"\xff")}
        assert version_of(migrated) == len(MIGRATIONS) and tables(migrated) == tables(new)
