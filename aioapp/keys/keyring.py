"""The keys in memory, so that no request waits for the database; behind it by half a second at most."""
import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from sqlite3 import Connection

from aioapp.callers import Caller
from aioapp.errors import StoreUnavailable, Unauthorized
from aioapp.keys.key import SECRET, Key, Secret, proves
from aioapp.store.embedded import keys as table
from aioapp.store.embedded.database import RETRY_AFTER, Database
from aioapp.store.embedded.marker import remember

UNKNOWN = "This key is not known."
MOST_READ = 100
"""Characters of what a caller sends that are looked at: more than a secret has, so a longer text is none."""
NO_DIGEST = bytes(32)
OLDEST = 5.0
"""Seconds for which a look holds. A database that hangs fails none: the look never ends."""
NEVER = -math.inf

log = logging.getLogger("aioapp.keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whoever has the secret."""

    secret: Secret
    key: Key
    caller: Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the database held in its `version`: `holders` by the public ids of their secrets; `any`, whether any key."""

    version: int | None = None
    any: bool = False
    holders: Mapping[str, Holder] = field(default_factory=dict)


class Keyring:
    """`proves` tells whether a text has a digest, in a time that does not depend on how nearly it has.

    `monotonic` gives seconds, since any time. Until the first `refresh` nothing is known, which is a failure too.
    """

    def __init__(
            self, database: Database, *, clock: Callable[[], datetime] = partial(datetime.now, UTC),
            monotonic: Callable[[], float] = time.monotonic, proves: Callable[[str, bytes], bool] = proves,
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._proves = proves
        self._known = Known()
        self._looked = NEVER
        self._late = False
        self._emptied = False
        self._told: type[Exception] | None = None

    async def run(self, every: float = 0.5) -> None:
        """Refresh for ever, `every` so many seconds, and tell where that takes too long."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._keep_looking(every))
            both.create_task(self._keep_watch(every))

    async def refresh(self) -> None:
        """See whether anything has changed. Where that fails, or never ends, nobody is let in until it succeeds."""
        began = self._monotonic()
        try:
            found = await self._database.read(self._look)
        except Exception as error:
            self._looked = NEVER  # whatever it was: a key may have been revoked meanwhile
            self._tell(error)
        else:
            self._told = None
            self._take(found, at=began)

    @property
    def ready(self) -> bool:
        """Whether it is known who holds a key."""
        return self._monotonic() - self._looked <= OLDEST

    @property
    def guarded(self) -> bool:
        """Whether any key was ever defined. Raises `StoreUnavailable`."""
        self._check()
        return self._known.any

    def find(self, given: str) -> Caller:
        """Who shows `given`. Raises `Unauthorized` or `StoreUnavailable`.

        One digest is made and one compared, whatever is given. Only who has the right secret learns why it is refused.
        """
        self._check()
        start = given[:MOST_READ]
        shape = SECRET.fullmatch(start)
        holder = self._known.holders.get(shape[1]) if shape else None
        right = self._proves(start, holder.secret.digest if holder else NO_DIGEST)
        if holder is None or not right:
            raise Unauthorized(UNKNOWN)
        return self._welcome(holder)

    def holder(self, secret: str) -> Caller:
        """Who has the secret with this public id, which was shown before, as it is now.

        Raises `Unauthorized` where it may no longer come in, or `StoreUnavailable`.
        """
        self._check()
        holder = self._known.holders.get(secret)
        if holder is None:
            raise Unauthorized(UNKNOWN)
        return self._welcome(holder)

    def _welcome(self, holder: Holder) -> Caller:
        now = self._clock()
        match holder.key.state(now):
            case "revoked":
                raise Unauthorized("This key was revoked.")
            case "expired":
                raise Unauthorized("This key has expired.")
        if holder.secret.expires_at is not None and now >= holder.secret.expires_at:
            raise Unauthorized("This secret was replaced by a new one.")
        return holder.caller

    def _check(self) -> None:
        if not self.ready:
            raise StoreUnavailable("Try again in a moment.", retry_after=RETRY_AFTER)

    async def _keep_looking(self, every: float) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(every)

    async def _keep_watch(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            self._watch()

    def _watch(self) -> None:
        """Tell once that looks do not end, and once that one has; those that fail are told of elsewhere."""
        if self._late and self.ready:
            self._late = False
            log.warning("The keys can be read again.")
        elif not (self._late or self.ready or self._looked == NEVER):
            self._late = True
            log.error("The keys could not be read for %g s: nobody is let in until they can.", OLDEST)

    def _tell(self, error: Exception) -> None:
        """Once for each fault of ours; the database tells its own."""
        if not isinstance(error, StoreUnavailable) and self._told is not type(error):
            self._told = type(error)
            log.error("The keys cannot be read, and nobody is let in: %s", type(error).__name__, exc_info=error)

    def _look(self, connection: Connection) -> Known | None:
        """What the database holds, or None where that is what is known. In the database's thread."""
        version = table.version(connection)
        if version == self._known.version:
            return None
        keys, secrets = table.load(connection)
        remember(connection)
        return Known(version=version, any=bool(keys), holders={
            secret.id: Holder(secret=secret, key=key, caller=key.caller(secret.id))
            for secret in secrets.values() if (key := keys.get(secret.key))})

    def _take(self, found: Known | None, *, at: float) -> None:
        """An empty database in the place of one that held keys would let in everybody: it is refused."""
        emptied = found is not None and self._known.any and not found.any
        if emptied and not self._emptied:
            log.error("The database has lost its keys: nobody is let in until it has some again.")
        if found is not None and not emptied:
            self._known = found
        self._emptied, self._looked = emptied, NEVER if emptied else at
