"""Sees the database lost and found, and tells each once an outage, as far as processes can agree without it."""
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from aioapp.alerts.alert import Alert, AlertStore, Claim
from aioapp.alerts.memory_outbox import MemoryOutbox

PATIENCE = 3.0
"""Seconds that it must be away: a lock that is held for a moment is no outage."""
REMEMBERED = timedelta(days=1)


class DatabaseWatch:
    """`trouble` says what the database cannot do, None where it can all. What is lost is told out of `memory`."""

    def __init__(
            self, store: AlertStore, memory: MemoryOutbox, *, trouble: Callable[[], str | None],
            monotonic: Callable[[], float] = time.monotonic, patience: float = PATIENCE) -> None:
        self._store = store
        self._memory = memory
        self._trouble = trouble
        self._monotonic = monotonic
        self._patience = patience
        self._since: float | None = None
        self._told: bool | None = None  # not known: a process before this one may have told that it is lost

    async def look(self) -> None:
        """Tell what has changed. Raises `StoreUnavailable`, and is to be done again then."""
        trouble = self._trouble()
        if trouble is None:
            self._since = None
            if self._told is not False and (outage := await self._store.recovered()) is not None:
                await self._store.claim([alert_of("found", outage)])
            self._told = False
            return
        self._since = self._monotonic() if self._since is None else self._since
        if not self._told and self._monotonic() - self._since >= self._patience:
            self._told = True
            alert = alert_of("lost", "", why=trouble)
            if (outage := await self._store.lost(alert)) is not None:
                self._memory.put(replace(alert, id=outage))


def alert_of(kind: str, outage: str, **data: str) -> Alert:
    now = datetime.now(UTC)
    return Alert(claim=Claim(f"database.{kind}", "", outage), at=now, kept_until=now + REMEMBERED, data=data)
