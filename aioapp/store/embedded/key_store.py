"""The keys of one machine: each question to the database is one transaction of it."""
from datetime import datetime, timedelta
from functools import partial
from sqlite3 import Connection

from aioapp.callers import Caller
from aioapp.errors import Conflict, Forbidden, NotFound
from aioapp.keys.audit import Page, differences, terms_given
from aioapp.keys.changes import Patch, merged
from aioapp.keys.grants import check_change, check_grant
from aioapp.keys.key import Key
from aioapp.keys.key_store import Holder, Known
from aioapp.store.embedded import audit, keys, sessions
from aioapp.store.embedded.database import Database
from aioapp.store.embedded.marker import remember


class EmbeddedKeys:
    """A `KeyStore` in an SQLite database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changes(self, since: int | None) -> Known | None:
        return await self._database.read(partial(read_changes, since=since))

    async def listed(self) -> list[Key]:
        return await self._database.read(keys.listed)

    async def find(self, name: str) -> Key:
        return await self._database.read(partial(keys.find, name=name))

    async def create(self, key: Key, *, by: Caller | None, at: datetime) -> str:
        return await self._database.write(partial(create, key=key, by=by, at=at))

    async def update(self, name: str, patch: Patch, *, by: Caller | None, at: datetime) -> Key:
        return await self._database.write(partial(update, name=name, patch=patch, by=by, at=at))

    async def revoke(self, name: str, *, by: Caller | None, at: datetime) -> Key:
        return await self._database.write(partial(revoke, name=name, by=by, at=at))

    async def forget(self, name: str, *, by: Caller | None, at: datetime) -> Key:
        return await self._database.write(partial(forget, name=name, by=by, at=at))

    async def rotate(self, name: str, *, by: Caller | None, at: datetime, grace: timedelta) -> tuple[Key, str]:
        return await self._database.write(partial(rotate, name=name, by=by, at=at, grace=grace))

    async def trail(self, *, limit: int, before: int | None = None, key: str | None = None) -> Page:
        return await self._database.read(partial(audit.page, limit=limit, before=before, key=key))

    async def begin_session(self, caller: Caller, *, at: datetime) -> str:
        return await self._database.write(partial(sessions.begin, caller=caller, at=at))

    async def session_opener(self, token: str, *, at: datetime) -> str:
        return await self._database.read(partial(sessions.opener, token=token, at=at))

    async def end_session(self, token: str) -> None:
        await self._database.write(partial(sessions.end, token=token))


def read_changes(connection: Connection, *, since: int | None) -> Known | None:
    version = keys.version(connection)
    if version == since:
        return None
    kept, secrets = keys.load(connection)
    remember(connection)
    return Known(version=version, any=bool(kept), holders={
        secret.id: Holder(secret=secret, key=key, caller=key.caller(secret.id))
        for secret in secrets.values() if (key := kept.get(secret.key))})


def create(connection: Connection, *, key: Key, by: Caller | None, at: datetime) -> str:
    check(connection, key, by=by, at=at)
    secret = keys.create(connection, key, at=at)
    audit.record(connection, "created", key=key.name, by=by, at=at, changes=terms_given(key))
    return secret


def update(connection: Connection, *, name: str, patch: Patch, by: Caller | None, at: datetime) -> Key:
    """Neither a key that has more than `by` is changed, nor one to have more."""
    before = keys.find(connection, name)
    check(connection, before, by=by, at=at)
    if before.revoked_at is not None:
        raise Conflict(f"The key {name} was revoked. Create a new one.")
    after = merged(before, patch)
    check(connection, after, by=by, at=at)
    if after != before:
        keys.update(connection, after)
        audit.record(connection, "changed", key=name, by=by, at=at, changes=differences(before, after))
    return after


def revoke(connection: Connection, *, name: str, by: Caller | None, at: datetime) -> Key:
    check(connection, None, by=by, at=at)
    key = keys.revoke(connection, name, at=at)
    audit.record(connection, "revoked", key=name, by=by, at=at)
    return key


def forget(connection: Connection, *, name: str, by: Caller | None, at: datetime) -> Key:
    check(connection, None, by=by, at=at)
    key = keys.forget(connection, name)
    audit.record(connection, "forgotten", key=name, by=by, at=at)
    return key


def rotate(
        connection: Connection, *, name: str, by: Caller | None, at: datetime, grace: timedelta) -> tuple[Key, str]:
    key = keys.find(connection, name)
    check(connection, key, by=by, at=at)  # its new secret is handed out
    secret = keys.rotate(connection, name, at=at, grace=grace)
    audit.record(connection, "rotated", key=name, by=by, at=at)
    return key, secret


def check(connection: Connection, wanted: Key | None, *, by: Caller | None, at: datetime) -> None:
    """Whether `by` may change keys, and grant what `wanted` has. Raises `Forbidden`."""
    if by is None:
        return
    try:
        secret = keys.secret(connection, by.secret)
        own = keys.find(connection, secret.key)
    except NotFound:
        raise Forbidden("Your key is not known any more.") from None
    check_change(own, secret, at=at)
    if wanted is not None:
        check_grant(wanted, own=own)
