"""Keys in a database: what is kept of them, and what is not."""
import sqlite3
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioapp.callers import Budget, Limits
from aioapp.errors import Conflict, NotFound
from aioapp.keys import Key
from aioapp.keys.key import END_OF_TIME, NAME, PATTERN, PLAIN, SECRET, proves
from aioapp.store.embedded import keys as table
from aioapp.store.embedded.database import connect, transacted

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)

LIMIT = st.none() | st.integers(1, 10**9)
ZONES = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES).filter(lambda at: at < END_OF_TIME)
KEYS = st.builds(
    Key,
    name=st.from_regex(NAME, fullmatch=True).filter(lambda name: name.lower() != "anonymous"),
    admin=st.booleans(),
    limits=st.builds(Limits, requests_per_minute=LIMIT, tokens_per_minute=LIMIT, concurrency=LIMIT),
    budget=st.none() | st.builds(Budget, nanodollars=st.integers(1, 10**18), per=st.sampled_from(["day", "month"]),
                                 strict=st.booleans()),
    models=st.lists(st.from_regex(PATTERN, fullmatch=True), min_size=1, max_size=5).map(tuple),
    created_at=TIMES, expires_at=st.none() | TIMES, revoked_at=st.none() | TIMES,
    note=st.none() | st.from_regex(PLAIN, fullmatch=True).map(lambda text: text[:500]),
    owner=st.none() | st.just("Ada Lovelace <ada@example.com>"))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "aioapp.db", create=True)) as connection:
        yield connection


def web(**terms: datetime | None) -> Key:
    return Key(name="web", created_at=AT, expires_at=terms.get("expires_at"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(keys=st.lists(KEYS, max_size=4, unique_by=lambda key: key.name))
def test_what_is_read_is_what_was_created(connection: sqlite3.Connection, keys: list[Key]) -> None:
    connection.execute("BEGIN")
    shown = {key.name: table.create(connection, key, at=AT) for key in keys}
    known, secrets = table.load(connection)
    assert known == {key.name: key for key in keys}
    assert table.listed(connection) == sorted(keys, key=lambda key: key.name)
    assert {secret.key: proves(shown[secret.key], secret.digest) for secret in secrets.values()} == dict.fromkeys(
        shown, True)
    assert len(secrets) == len(keys)
    connection.execute("ROLLBACK")


def test_a_name_is_taken_for_good(connection: sqlite3.Connection) -> None:
    table.create(connection, web(), at=AT)
    with pytest.raises(Conflict, match="web"):
        table.create(connection, web(), at=AT)
    table.revoke(connection, "web", at=AT)
    with pytest.raises(Conflict, match="web"):
        table.create(connection, web(), at=AT)
    assert len(table.load(connection)[1]) == 1


@pytest.mark.parametrize("name", ["nobody", "", "web\n", "' OR 1=1 --", "\udcff", "we\0b", "w" * 10_000])
def test_a_name_that_nobody_has_is_not_found(connection: sqlite3.Connection, name: str) -> None:
    table.create(connection, web(), at=AT)
    for look in (lambda: table.find(connection, name), lambda: table.revoke(connection, name, at=AT),
                 lambda: table.rotate(connection, name, at=AT, grace=DAY)):
        with pytest.raises(NotFound) as missing:
            look()
        assert str(missing.value).isprintable() and len(str(missing.value)) < 400


def test_a_key_is_revoked_once(connection: sqlite3.Connection) -> None:
    table.create(connection, web(), at=AT)
    assert table.revoke(connection, "web", at=AT + DAY).revoked_at == AT + DAY
    with pytest.raises(Conflict):
        table.revoke(connection, "web", at=AT + 2 * DAY)
    assert table.find(connection, "web").revoked_at == AT + DAY


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(before=KEYS, after=KEYS)
def test_what_is_read_is_what_it_was_changed_to(connection: sqlite3.Connection, before: Key, after: Key) -> None:
    changed = replace(after, name=before.name)
    connection.execute("BEGIN")
    table.create(connection, before, at=AT)
    version = table.version(connection)
    table.update(connection, changed)
    assert table.find(connection, before.name) == changed
    assert table.version(connection) != version
    connection.execute("ROLLBACK")


def test_a_rotation_gives_older_secrets_their_grace_and_never_more_than_they_had(
        connection: sqlite3.Connection) -> None:
    shown = [table.create(connection, web(), at=AT)]
    shown += [table.rotate(connection, "web", at=AT, grace=grace) for grace in (DAY, 3 * DAY, 2 * DAY)]
    secrets = table.load(connection)[1]
    ends = [secrets[one[4:20]].expires_at for one in shown]
    assert ends == [AT + DAY, AT + 2 * DAY, AT + 2 * DAY, None]


def test_a_grace_is_as_long_in_every_time_zone(connection: sqlite3.Connection) -> None:
    old = table.create(connection, web(), at=AT)
    table.rotate(connection, "web", at=AT, grace=timedelta(hours=2))
    table.rotate(connection, "web", at=AT.astimezone(timezone(timedelta(hours=9))), grace=timedelta(hours=1))
    assert table.load(connection)[1][old[4:20]].expires_at == AT + timedelta(hours=1)


def test_a_key_that_nobody_can_use_has_no_new_secrets(connection: sqlite3.Connection) -> None:
    table.create(connection, web(expires_at=AT + DAY), at=AT)
    with pytest.raises(Conflict, match="expired"):
        table.rotate(connection, "web", at=AT + DAY, grace=DAY)
    table.revoke(connection, "web", at=AT)
    with pytest.raises(Conflict, match="revoked"):
        table.rotate(connection, "web", at=AT, grace=DAY)


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), timedelta.max])
def test_a_grace_is_neither_negative_nor_endless(connection: sqlite3.Connection, grace: timedelta) -> None:
    table.create(connection, web(), at=AT)
    with pytest.raises(ValueError, match="grace"):
        table.rotate(connection, "web", at=AT, grace=grace)


def test_every_change_has_a_version_of_its_own(connection: sqlite3.Connection) -> None:
    versions = [table.version(connection)]
    for change in (lambda: table.create(connection, web(), at=AT),
                   lambda: table.rotate(connection, "web", at=AT, grace=DAY),
                   lambda: table.revoke(connection, "web", at=AT),
                   lambda: connection.execute("UPDATE secrets SET expires_at = NULL"),
                   lambda: connection.execute("DELETE FROM secrets"),
                   lambda: connection.execute("DELETE FROM keys")):
        change()
        versions.append(table.version(connection))
    assert len(set(versions)) == 7


def test_two_databases_do_not_begin_with_the_same_version(connection: sqlite3.Connection, tmp_path: Path) -> None:
    with closing(connect(tmp_path / "other.db", create=True)) as other:
        assert table.version(other) != table.version(connection)


def test_the_files_hold_nothing_that_opens_the_door(connection: sqlite3.Connection, tmp_path: Path) -> None:
    shown = [transacted(connection, lambda c: table.create(c, web(), at=AT)),
             transacted(connection, lambda c: table.rotate(c, "web", at=AT, grace=DAY))]
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert (tmp_path / "aioapp.db-wal").stat().st_size
    for one in shown:
        bits = urlsafe_b64decode(one[-43:] + "=")
        assert one[4:20].encode() in written
        for form in (one.encode(), one[-43:].encode(), one[-43:].lower().encode(), bits, bits.hex().encode(),
                     one.encode().hex().encode(), one.encode("utf-16-le")):
            assert form not in written


def as_if(name: str, columns: str) -> str:
    """The table held this: what SQLite gives where the bytes of a row are wrong."""
    return f"ALTER TABLE {name} RENAME TO kept; CREATE TABLE {name} AS SELECT {columns} FROM kept"


TERMS = ("name, admin, requests_per_minute, tokens_per_minute, concurrency, budget, budget_per, budget_strict, "
         "expires_at, revoked_at, note, owner")
NO_LONGER_STRICT = [
    as_if("keys", "name, admin"), as_if("keys", f"{TERMS}, models, created_at").replace("note", "1 AS note"),
    as_if("keys", f"{TERMS}, 1 AS models, created_at"),
    as_if("keys", f"{TERMS}, models, NULL AS created_at"),
    as_if("secrets", "id, key, hex(digest) AS digest, expires_at"),
    as_if("secrets", "id, key, digest, 1 AS expires_at"), as_if("keys_version", "NULL AS version"),
    as_if("keys_version", "'many' AS version"), as_if("keys_version", "x'ff' AS version")]


@pytest.mark.parametrize("change", [
    "UPDATE keys SET created_at = 'yesterday'", "UPDATE keys SET expires_at = '2027-01-31'",
    "UPDATE keys SET models = ''", "UPDATE keys SET note = ''",
    "UPDATE keys SET concurrency = -1", "UPDATE keys SET name = 'anonymous'",
    "UPDATE secrets SET expires_at = 'soon'", "UPDATE secrets SET expires_at = '2027-01-31'",
    "DELETE FROM keys_version", *NO_LONGER_STRICT])
def test_rows_that_mean_nothing_are_a_broken_database(connection: sqlite3.Connection, change: str) -> None:
    table.create(connection, web(), at=AT)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.executescript(change)
    with pytest.raises(sqlite3.DataError):
        table.version(connection)
        table.load(connection)


def test_a_public_id_is_the_part_of_the_secret_it_is_found_by(connection: sqlite3.Connection) -> None:
    shown = table.create(connection, web(), at=AT)
    found = SECRET.fullmatch(shown)
    assert found and list(table.load(connection)[1]) == [found[1]]
