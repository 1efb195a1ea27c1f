"""Sessions of administrators' browsers: what is kept of them, and what ends them."""
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from aioapp.callers import Caller
from aioapp.errors import Unauthorized
from aioapp.keys import Key
from aioapp.store.embedded import keys as table, sessions
from aioapp.store.embedded.database import connect

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "aioapp.db", create=True)) as connection:
        yield connection


def boss(connection: sqlite3.Connection, name: str = "boss") -> Caller:
    key = Key(name=name, admin=True, created_at=AT)
    return key.caller(table.create(connection, key, at=AT)[4:20])


def count(connection: sqlite3.Connection) -> int:
    [found] = connection.execute("SELECT count(*) FROM sessions").fetchone()
    return int(found)


def is_over(connection: sqlite3.Connection, token: str, *, at: datetime = AT) -> bool:
    try:
        return not sessions.opener(connection, token, at=at)
    except Unauthorized as error:
        assert error.detail == "Your session is over. Sign in again."
        return True


def test_a_session_is_256_bits_of_which_only_a_digest_is_kept(connection: sqlite3.Connection) -> None:
    client = boss(connection)
    tokens = {sessions.begin(connection, client, at=AT) for _ in range(3)}
    assert len(tokens) == 3 and all(len(token) == 43 for token in tokens)
    kept = connection.execute("SELECT digest FROM sessions").fetchall()
    assert {digest for [digest] in kept} == {sha256(token.encode()).digest() for token in tokens}
    assert not [token for token in tokens if token in "\n".join(connection.iterdump())]
    assert {sessions.opener(connection, token, at=AT) for token in tokens} == {client.secret}


def test_it_is_over_after_twelve_hours(connection: sqlite3.Connection) -> None:
    token = sessions.begin(connection, boss(connection), at=AT)
    assert not is_over(connection, token, at=AT + timedelta(hours=12) - SECOND)
    assert is_over(connection, token, at=AT + timedelta(hours=12))


def test_one_that_is_ended_is_over_and_no_other_is(connection: sqlite3.Connection) -> None:
    client = boss(connection)
    one, other = (sessions.begin(connection, client, at=AT) for _ in range(2))
    sessions.end(connection, one)
    assert is_over(connection, one) and not is_over(connection, other)


@pytest.mark.parametrize("token", ["", " ", "a" * 43, "a" * 100_000, "' OR 1=1 --", "\udcff", "\0", "é"])
def test_whatever_else_a_cookie_holds_is_no_session(connection: sqlite3.Connection, token: str) -> None:
    sessions.begin(connection, boss(connection), at=AT)
    assert is_over(connection, token)
    sessions.end(connection, token)
    assert count(connection) == 1


def test_a_key_has_twenty_at_most_and_the_oldest_goes(connection: sqlite3.Connection) -> None:
    client, other = boss(connection), boss(connection, "other")
    theirs = sessions.begin(connection, other, at=AT)
    tokens = [sessions.begin(connection, client, at=AT) for _ in range(19)]
    table.rotate(connection, "boss", at=AT, grace=timedelta(hours=1))
    [renewed] = connection.execute("SELECT id FROM secrets WHERE key = 'boss' AND expires_at IS NULL").fetchone()
    tokens += [sessions.begin(connection, Caller(name="boss", known=True, secret=renewed), at=AT) for _ in range(3)]
    assert [is_over(connection, token) for token in tokens] == [True, True] + 20 * [False]
    assert not is_over(connection, theirs)


def test_those_that_are_over_are_thrown_away_when_somebody_signs_in(connection: sqlite3.Connection) -> None:
    for name in ("one", "other"):
        sessions.begin(connection, boss(connection, name), at=AT)
    sessions.begin(connection, boss(connection), at=AT + timedelta(hours=12))
    assert count(connection) == 1


def test_a_secret_takes_its_sessions_with_it(connection: sqlite3.Connection) -> None:
    token = sessions.begin(connection, boss(connection), at=AT)
    connection.execute("DELETE FROM secrets")
    assert is_over(connection, token) and not count(connection)
