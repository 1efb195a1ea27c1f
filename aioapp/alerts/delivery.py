"""Sends what waits, and tries again what was not taken, ever more rarely, until it is given up."""
import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

from aioapp.alerts.alert import Message, Outbox
from aioapp.errors import StoreUnavailable
from aioapp.webhooks.sender import Send

DELAYS = (1, 5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800)
"""Seconds from one try to the next: sixteen hours in all, after which an alert is given up."""
LEASE = timedelta(seconds=60)
"""For how long a message is with whoever took it: longer than a try may take. Then another process may try it."""
EVERY = 1.0
"""Seconds from one look for what is due to the next."""
PATIENCE = 5.0
"""Seconds to wait for an outbox."""

log = logging.getLogger("aioapp.alerts")


class Delivery:
    """One process's part: it sends one message at a time, so a slow receiver holds up nothing but other alerts."""

    def __init__(
            self, *outboxes: Outbox, send: Send, clock: Callable[[], datetime] = partial(datetime.now, UTC),
            delays: Sequence[float] = DELAYS) -> None:
        self._outboxes = outboxes
        self._send = send
        self._clock = clock
        self._delays = delays

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            await self.round()
            await asyncio.sleep(EVERY)

    async def round(self) -> None:
        """Send all that is due now, as far as it can be had."""
        for outbox in self._outboxes:
            with suppress(StoreUnavailable, TimeoutError):
                while (message := await self._taken(outbox)) is not None:
                    await self._deliver(message, outbox)

    async def _taken(self, outbox: Outbox) -> Message | None:
        now = self._clock()
        async with asyncio.timeout(PATIENCE):
            return await outbox.take(at=now, until=now + LEASE)

    async def _deliver(self, message: Message, outbox: Outbox) -> None:
        """Whoever is killed between the sending and the note of it leaves it to be sent again, under the same id."""
        why, due = await self._send(message.id, message.body), None
        if why is not None and message.tries < len(self._delays):
            delay = self._delays[message.tries]
            due = self._clock() + timedelta(seconds=delay)
            log.warning("The alert %s was not taken: %s. It is sent again in %g s.", message.id, why, delay)
        elif why is not None:
            log.error("The alert %s was not taken, and is given up: %s.", message.id, why)
        async with asyncio.timeout(PATIENCE):
            await outbox.postpone(message.id, due)
