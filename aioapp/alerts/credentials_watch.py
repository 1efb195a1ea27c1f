"""Sees Claude refuse the credentials, and take them again; each is told once an outage, over all processes."""
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from aioapp.alerts.alert import Alert, AlertStore, Claim, iso
from aioapp.errors import CredentialsRefused
from aioapp.generation import Generation

WHAT = "credentials"
QUIET = 300.0
"""Seconds after an outage in which no other one begins: Claude may refuse one model, and take others all the time."""
REMEMBERED = timedelta(days=1)


class CredentialsWatch:
    """`described` tells which credentials they are, in JSON without secrets; `clock` gives Unix seconds.

    What a process knows it has from its callers' calls: without one, nobody learns that they are usable again.
    """

    def __init__(
            self, store: AlertStore, *, described: Callable[[], Mapping[str, object]],
            clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._described = described
        self._clock = clock
        self._accepted_at = self._refused_at = self._looked_at = 0.0

    def see(self, generation: Generation) -> None:
        """An observer: it notes a time."""
        if generation.error == CredentialsRefused.title:
            self._refused_at = self._clock()
        elif generation.outcome == "completed" and generation.meter.asked:
            self._accepted_at = self._clock()

    async def look(self) -> None:
        """Claim what is to be told, if there is news. Raises `StoreUnavailable`."""
        latest = max(self._accepted_at, self._refused_at)
        if latest <= self._looked_at:
            return
        outage, usable = await self._store.outage(WHAT), self._accepted_at >= self._refused_at
        goes_on = outage is not None and outage.ended_at is None
        if not usable and not goes_on:
            if outage is not None and outage.ended_at is not None and self._refused_at < outage.ended_at + QUIET:
                return  # to be looked at again: it may go on
            await self._store.begin(WHAT, self._alert("refused", self._refused_at), at=self._refused_at)
        elif usable and outage is not None and goes_on and self._accepted_at > outage.began_at:
            await self._store.end(WHAT, self._alert("usable", outage.began_at), at=self._accepted_at)
        self._looked_at = latest

    def _alert(self, kind: str, began_at: float) -> Alert:
        now, began = datetime.now(UTC), iso(datetime.fromtimestamp(began_at, UTC))
        return Alert(claim=Claim(f"credentials.{kind}", "", began), at=now, kept_until=now + REMEMBERED,
                     data={**self._described(), "refused_since": began})
