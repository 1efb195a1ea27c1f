"""What the keys are kept in: asked by whoever changes them, and by the keyring, which holds them in memory."""
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from aioapp.callers import Caller
from aioapp.keys.audit import Page
from aioapp.keys.changes import Patch
from aioapp.keys.key import Key, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whoever has the secret."""

    secret: Secret
    key: Key
    caller: Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was kept in this `version`: `holders` by the public ids of their secrets; `any`, whether any key."""

    version: int | None = None
    any: bool = False
    holders: Mapping[str, Holder] = field(default_factory=dict)


class KeyStore(Protocol):
    """`by` is the administrator who asks for a change, None for whoever runs the server. A change is all or nothing,
    its entry in the trail included.

    Errors are `StoreUnavailable`, `Forbidden` where `by` may not, and those that are named.
    """

    async def changes(self, since: int | None) -> Known | None:
        """All that is kept, or None where that is still version `since`."""

    async def listed(self) -> list[Key]:
        """All keys that are known, by name, those included that were revoked."""

    async def find(self, name: str) -> Key:
        """Raises `NotFound`."""

    async def create(self, key: Key, *, by: Caller | None, at: datetime) -> str:
        """Keep the key. Returns its secret, which cannot be had again. Raises `Conflict`."""

    async def update(self, name: str, patch: Patch, *, by: Caller | None, at: datetime) -> Key:
        """Change what `patch` says of the key's terms. Returns the key as it is then.

        Raises `NotFound`, `Conflict` for a key that was revoked, or `ValueError` where that would be no key.
        """

    async def revoke(self, name: str, *, by: Caller | None, at: datetime) -> Key:
        """End the key, at once and for good. Raises `NotFound`, or `Conflict` where that was done before."""

    async def forget(self, name: str, *, by: Caller | None, at: datetime) -> Key:
        """Give the name of a revoked key up, for another one to have. Returns what the key was.

        Raises `NotFound`, or `Conflict` for a key that was not revoked and for the last one that is known.
        """

    async def rotate(self, name: str, *, by: Caller | None, at: datetime, grace: timedelta) -> tuple[Key, str]:
        """Give the key a new secret, and its older ones a last while of `grace`. Returns the key and the new secret.

        Raises `NotFound`, or `Conflict` for a key that nobody can use any more.
        """

    async def trail(self, *, limit: int, before: int | None = None, key: str | None = None) -> Page:
        """What was done to keys, or to the one called `key`: at most `limit` entries, those before the cursor."""

    async def begin_session(self, caller: Caller, *, at: datetime) -> str:
        """A session of an administrator's browser, which ends with the secret that was shown. Returns its token."""

    async def session_opener(self, token: str, *, at: datetime) -> str:
        """The public id of the secret with which the session was begun. Raises `Unauthorized`."""

    async def end_session(self, token: str) -> None:
        """End the session, if there is one."""
