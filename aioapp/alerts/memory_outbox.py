"""An outbox in the memory of one process, for what must be sent while the database is away."""
from dataclasses import dataclass
from datetime import datetime

from aioapp.alerts.alert import Alert, Message

MOST = 16


@dataclass(slots=True)
class Waiting:
    message: Message
    due: datetime


class MemoryOutbox:
    """An `Outbox`. What is in it ends with the process; of more than `MOST`, the oldest is given up."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}

    def put(self, alert: Alert) -> None:
        if len(self._waiting) >= MOST:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[alert.id] = Waiting(Message(alert.id, alert.body, 0), alert.at)

    async def take(self, *, at: datetime, until: datetime) -> Message | None:
        for waiting in self._waiting.values():
            if waiting.due <= at:
                message = waiting.message
                waiting.due, waiting.message = until, message._replace(tries=message.tries + 1)
                return message
        return None

    async def postpone(self, id: str, due: datetime | None) -> None:
        if due is None:
            self._waiting.pop(id, None)
        elif id in self._waiting:
            self._waiting[id].due = due
