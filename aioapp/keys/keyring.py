"""The keys in memory, so that no request waits for their store; behind it by half a second at most."""
import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

from aioapp.callers import Caller
from aioapp.errors import StoreUnavailable, Unauthorized
from aioapp.keys.key import SECRET, proves
from aioapp.keys.key_store import Holder, Known, KeyStore

UNKNOWN = "This key is not known."
MOST_READ = 100
"""Characters of what a caller sends that are looked at: more than a secret has, so a longer text is none."""
NO_DIGEST = bytes(32)
OLDEST = 5.0
"""Seconds for which a look holds. A database that hangs fails none: the look never ends."""
NEVER = -math.inf
RETRY_AFTER = 5

log = logging.getLogger("aioapp.keys")


class Keyring:
    """`proves` tells whether a text has a digest, in a time that does not depend on how nearly it has.

    `monotonic` gives seconds, since any time. Until the first `refresh` nothing is known, which is a failure too.
    """

    def __init__(
            self, store: KeyStore, *, clock: Callable[[], datetime] = partial(datetime.now, UTC),
            monotonic: Callable[[], float] = time.monotonic, proves: Callable[[str, bytes], bool] = proves,
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._proves = proves
        self._known = Known()
        self._polled = NEVER
        self._late = False
        self._emptied = False
        self._logged: type[Exception] | None = None

    async def run(self, every: float = 0.5) -> None:
        """Refresh for ever, `every` so many seconds, and tell where that takes too long."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._keep_polling(every))
            both.create_task(self._keep_watch(every))

    async def refresh(self) -> None:
        """See whether anything has changed. Where that fails, or never ends, nobody is let in until it succeeds."""
        began = self._monotonic()
        try:
            found = await self._store.changes(self._known.version)
        except Exception as error:
            self._polled = NEVER  # whatever it was: a key may have been revoked meanwhile
            self._log(error)
        else:
            self._logged = None
            self._take(found, at=began)

    @property
    def ready(self) -> bool:
        """Whether it is known who holds a key."""
        return self._monotonic() - self._polled <= OLDEST

    @property
    def any(self) -> bool:
        """Whether any key was there, when they were last read."""
        return self._known.any

    @property
    def holders(self) -> Iterable[Holder]:
        """Whoever has a secret, of keys that have ended too, as they were last read."""
        return self._known.holders.values()

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
                raise Unauthorized("This key was revoked.", refused="revoked", key=holder.key.name)
            case "expired":
                raise Unauthorized("This key has expired.", refused="expired", key=holder.key.name)
        if holder.secret.expires_at is not None and now >= holder.secret.expires_at:
            raise Unauthorized("This secret was replaced by a new one.", refused="replaced", key=holder.key.name)
        return holder.caller

    def _check(self) -> None:
        if self._monotonic() - self._polled > OLDEST:  # not `ready`, each time for two requests' worth of calls
            raise StoreUnavailable("Try again in a moment.", retry_after=RETRY_AFTER)

    async def _keep_polling(self, every: float) -> None:
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
        elif not (self._late or self.ready or self._polled == NEVER):
            self._late = True
            log.error("The keys could not be read for %g s: nobody is let in until they can.", OLDEST)

    def _log(self, error: Exception) -> None:
        """Once for each fault of ours; the store logs its own."""
        if not isinstance(error, StoreUnavailable) and self._logged is not type(error):
            self._logged = type(error)
            log.error("The keys cannot be read, and nobody is let in: %s", type(error).__name__, exc_info=error)

    def _take(self, found: Known | None, *, at: float) -> None:
        """An empty database in the place of one that held keys would let in everybody: it is refused."""
        emptied = found is not None and self._known.any and not found.any
        if emptied and not self._emptied:
            log.error("The database has lost its keys: nobody is let in until it has some again.")
        if found is not None and not emptied:
            self._known = found
        self._emptied, self._polled = emptied, NEVER if emptied else at
