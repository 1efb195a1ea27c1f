"""Keys in the database: plain functions on a connection, whose transaction is their caller's."""
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection, DataError, Row
from typing import Any

from aioapp.callers import Budget, Limits
from aioapp.errors import Conflict, NotFound
from aioapp.keys.key import LONGEST_GRACE, NAME, Key, Secret, mint
from aioapp.store.embedded.errors import sound

KEYS = "SELECT keys.*, last_used.at AS last_used_at FROM keys LEFT JOIN last_used ON last_used.key = keys.name"


@sound()
def version(connection: Connection) -> int:
    """A number that changes with every change of a key or a secret, and that begins anywhere in a new database."""
    for row in rows(connection, "SELECT version FROM keys_version"):
        return int(row["version"])
    raise DataError("it does not say which version of the keys it holds")


@sound()
def load(connection: Connection) -> tuple[dict[str, Key], dict[str, Secret]]:
    """All keys by name, and all secrets by public id."""
    found = map(secret_of, rows(connection, "SELECT id, key, digest, expires_at FROM secrets"))
    return {key.name: key for key in listed(connection)}, {secret.id: secret for secret in found}


@sound()
def listed(connection: Connection) -> list[Key]:
    return [key_of(row) for row in rows(connection, f"{KEYS} ORDER BY name")]


@sound()
def find(connection: Connection, name: str) -> Key:
    """The key called `name`, whatever its state. Raises `NotFound`."""
    if NAME.fullmatch(name):  # other texts need not be ones that SQLite takes
        for row in rows(connection, f"{KEYS} WHERE name = ?", name):
            return key_of(row)
    raise NotFound(f"There is no key with the name {name[:64]!a}.")


@sound()
def secret(connection: Connection, id: str) -> Secret:
    """The secret with this public id. Raises `NotFound`."""
    for row in rows(connection, "SELECT id, key, digest, expires_at FROM secrets WHERE id = ?", id):
        return secret_of(row)
    raise NotFound("There is no such secret.")


def create(connection: Connection, key: Key, *, at: datetime) -> str:
    """Keep the key. Returns its secret, which cannot be had again. Raises `Conflict`."""
    row = row_of(key)
    marks = ", ".join(f":{column}" for column in row)
    added = connection.execute(
        f"INSERT INTO keys ({', '.join(row)}) VALUES ({marks}) ON CONFLICT (name) DO NOTHING", row)
    if not added.rowcount:
        raise Conflict(f"The name {key.name} {taken(find(connection, key.name))}.")
    return add_secret(connection, key.name, at=at)


def taken(key: Key) -> str:
    """How the name of a key that is there can be had."""
    if key.revoked_at is None:
        return "is another key's. Choose a new one"
    return f"was another key's. Choose a new one, or give this one up first: aioapp keys forget {key.name}"


def update(connection: Connection, key: Key) -> None:
    """Keep the key as it is now, in the place of the one that has its name."""
    row = row_of(key)
    columns = ", ".join(f"{column} = :{column}" for column in row)
    connection.execute(f"UPDATE keys SET {columns} WHERE name = :name", row)


def revoke(connection: Connection, name: str, *, at: datetime) -> Key:
    """End the key, at once and for good. Raises `NotFound`, or `Conflict` where that was done before."""
    if find(connection, name).revoked_at is not None:
        raise Conflict(f"The key {name} was revoked before.")
    connection.execute("UPDATE keys SET revoked_at = ? WHERE name = ?", (stamp(at), name))
    return find(connection, name)


def forget(connection: Connection, name: str) -> Key:
    """Give up the name of a revoked key, and all that is known of it but for its accounts. Returns what it was.

    Raises `NotFound`, or `Conflict` for a key that was not revoked, and for the last one: a database that has lost all
    keys is taken for a broken one, and nobody is let in.
    """
    key = find(connection, name)
    if key.revoked_at is None:
        raise Conflict(f"The key {name} was not revoked. Revoke it first.")
    [others] = connection.execute("SELECT EXISTS (SELECT 1 FROM keys WHERE name <> ?)", (name,)).fetchone()
    if not others:
        raise Conflict(f"The key {name} is the only one that is known. Create another one first.")
    for table, column in (("secrets", "key"), ("last_used", "key"), ("keys", "name")):
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))
    return key


def rotate(connection: Connection, name: str, *, at: datetime, grace: timedelta) -> str:
    """Give the key a new secret, and its older ones a last while of `grace`. Returns the new one.

    Raises `NotFound`, or `Conflict` for a key that nobody can use any more.
    """
    if not timedelta() <= grace <= LONGEST_GRACE:
        raise ValueError(f"a grace from 0 to {LONGEST_GRACE.days} days")
    if (state := find(connection, name).state(at)) != "active":
        raise Conflict(f"The key {name} {'has' if state == 'expired' else 'was'} {state}. Create a new one.")
    last = stamp(at + grace)
    connection.execute(
        "UPDATE secrets SET expires_at = :last WHERE key = :name AND (expires_at IS NULL OR expires_at > :last)",
        {"name": name, "last": last})
    return add_secret(connection, name, at=at)


def add_secret(connection: Connection, name: str, *, at: datetime) -> str:
    shown, public, digest = mint()
    connection.execute("INSERT INTO secrets (id, key, digest, created_at) VALUES (?, ?, ?, ?)",
                       (public, name, digest, stamp(at)))
    return shown


def rows(connection: Connection, query: str, *values: str | int | None) -> Iterator[Row]:
    cursor = connection.cursor()
    cursor.row_factory = Row
    return cursor.execute(query, values)


def row_of(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "admin": key.admin,
        **{row.name: getattr(key.limits, row.name) for row in fields(Limits)},
        "budget": key.budget and key.budget.nanodollars,
        "budget_per": key.budget and key.budget.per,
        "budget_strict": key.budget is not None and key.budget.strict,
        "models": " ".join(key.models),
        "created_at": stamp(key.created_at),
        "expires_at": key.expires_at and stamp(key.expires_at),
        "revoked_at": key.revoked_at and stamp(key.revoked_at),
        "note": key.note,
        "owner": key.owner,
    }


def key_of(row: Row) -> Key:
    with sound(f"the key {row['name']!a} in it"):
        budget, per, strict = row["budget"], row["budget_per"], bool(row["budget_strict"])
        return Key(
            name=row["name"],
            admin=bool(row["admin"]),
            limits=Limits(**{one.name: row[one.name] for one in fields(Limits)}),
            budget=None if budget is None else Budget(nanodollars=budget, per=per, strict=strict),
            models=tuple(row["models"].split(" ")),
            created_at=datetime.fromisoformat(row["created_at"]),
            expires_at=moment(row["expires_at"]),
            revoked_at=moment(row["revoked_at"]),
            last_used_at=moment(row["last_used_at"]),
            note=row["note"],
            owner=row["owner"],
        )


def secret_of(row: Row) -> Secret:
    with sound(f"the secret {row['id']!a} in it"):
        if not isinstance(row["digest"], bytes):  # it is compared with what callers show
            raise ValueError("a digest that is no bytes")
        return Secret(id=row["id"], key=row["key"], digest=row["digest"], expires_at=moment(row["expires_at"]))


def stamp(at: datetime) -> str:
    """In UTC and of one width, so that the order of texts is that of times."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def moment(text: str | None) -> datetime | None:
    at = None if text is None else datetime.fromisoformat(text)
    if at is not None and at.utcoffset() is None:
        raise ValueError("a time without its zone")
    return at
