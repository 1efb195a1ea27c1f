"""An alert, and where alerts wait until they are sent."""
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from aioapp.webhooks.signature import new_id


class Claim(NamedTuple):
    """What makes an alert one that is sent once: its type, whom it is about, and of which period or outage it is."""

    type: str
    subject: str
    period: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """`kept_until` is until when it must be remembered that it was sent; `data` is JSON, and holds no secrets."""

    claim: Claim
    at: datetime
    kept_until: datetime
    data: Mapping[str, Any]
    id: str = field(default_factory=new_id)

    @property
    def body(self) -> bytes:
        """As Standard Webhooks has it: `type`, `timestamp` of what happened, `data`."""
        said = {"type": self.claim.type, "timestamp": iso(self.at), "data": dict(self.data)}
        return json.dumps(said, separators=(",", ":")).encode()


class Message(NamedTuple):
    """An alert on its way, which was tried so often before."""

    id: str
    body: bytes
    tries: int


class Outage(NamedTuple):
    """Something that did not work, as of Unix times; it goes on where `ended_at` is None."""

    began_at: float
    ended_at: float | None


class Outbox(Protocol):
    """Where messages wait. Each raises `StoreUnavailable`."""

    async def take(self, *, at: datetime, until: datetime) -> Message | None:
        """One that is due, which nobody else gets before `until`."""

    async def postpone(self, id: str, due: datetime | None) -> None:
        """Have it tried again then; None: never, for it was taken, or is given up."""


class AlertStore(Outbox, Protocol):
    """An outbox that all processes share, and that outlives them."""

    async def claim(self, alerts: Iterable[Alert]) -> set[Claim]:
        """Have each sent that was never claimed, by whatever process.

        Returns the claims that are known from now on. Where too many alerts wait, one may not be among them.
        """

    async def outage(self, what: str) -> Outage | None:
        """The last outage of this."""

    async def begin(self, what: str, alert: Alert, *, at: float) -> None:
        """An outage has begun, which `alert` tells: nothing is done where one goes on, or ended after `at`."""

    async def end(self, what: str, alert: Alert, *, at: float) -> None:
        """The outage is over, which `alert` tells: nothing is done where none goes on."""

    async def lost(self, alert: Alert) -> str | None:
        """The database itself cannot be used. Returns the name of this outage, which is to be the alert's id; None
        where another process tells it."""

    async def recovered(self) -> str | None:
        """It can be used again. Returns the name of the outage that is over; None where another process tells that."""


def iso(at: datetime) -> str:
    """A time in UTC, of one width, so that the order of texts is that of times."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
