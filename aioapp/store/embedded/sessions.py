"""Sessions of administrators' browsers: plain functions on a connection, whose transaction is their caller's.

A session is a random token, which the browser alone keeps. It stands for the secret with which it was begun, and ends
with it.
"""
import secrets
from datetime import datetime
from sqlite3 import Connection

from aioapp.callers import Caller
from aioapp.errors import Unauthorized
from aioapp.keys.key import SESSION_LIFETIME, digest_of
from aioapp.store.embedded.errors import sound
from aioapp.store.embedded.keys import stamp

MOST = 20
"""Of one key, over all of its secrets."""
SURPLUS = """
    DELETE FROM sessions WHERE rowid IN (
        SELECT sessions.rowid FROM sessions JOIN secrets ON secrets.id = sessions.secret
        WHERE secrets.key = ? ORDER BY sessions.rowid DESC LIMIT -1 OFFSET ?)"""


def begin(connection: Connection, caller: Caller, *, at: datetime) -> str:
    """A session of whoever showed its secret. Returns its token: 256 bits in base64 (RFC 4648 §5).

    Those that are over are deleted, and of too many of one key the oldest.
    """
    token = secrets.token_urlsafe(32)
    connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (stamp(at),))
    connection.execute("INSERT INTO sessions (digest, secret, expires_at) VALUES (?, ?, ?)",
                       (digest_of(token), caller.secret, stamp(at + SESSION_LIFETIME)))
    connection.execute(SURPLUS, (caller.name, MOST))
    return token


@sound()
def opener(connection: Connection, token: str, *, at: datetime) -> str:
    """The public id of the secret with which the session was begun, whatever became of it. Raises `Unauthorized`."""
    query = "SELECT secret FROM sessions WHERE digest = ? AND expires_at > ?"
    for [secret] in connection.execute(query, (digest_of(token), stamp(at))):
        return str(secret)
    raise Unauthorized("Your session is over. Sign in again.")


def end(connection: Connection, token: str) -> None:
    """End the session, if there is one."""
    connection.execute("DELETE FROM sessions WHERE digest = ?", (digest_of(token),))
