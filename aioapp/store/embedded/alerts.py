"""Alerts in the database: what was claimed, what waits to be sent, and which outages go on."""
import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection

from aioapp.alerts.alert import Alert, Claim, Message, Outage, iso
from aioapp.store.embedded.database import Database
from aioapp.store.embedded.errors import sound

MOST_WAITING = 1000
"""Alerts that wait to be sent; beyond them none is claimed, but looked for again later."""
SAME_OUTAGE = 60.0
"""Seconds: processes that cannot even write a file beside the database tell one outage under one name if they see it
within this."""

CLAIM = """
    INSERT INTO alerts (id, type, subject, period, body, kept_until, tries, due_at) SELECT ?, ?, ?, ?, ?, ?, 0, ?
    WHERE (SELECT count(*) FROM alerts WHERE due_at IS NOT NULL) < ? ON CONFLICT (type, subject, period) DO NOTHING"""
CLAIMED = "SELECT 1 FROM alerts WHERE type = ? AND subject = ? AND period = ?"
FORGET = "DELETE FROM alerts WHERE due_at IS NULL AND kept_until < ?"
DUE = "SELECT id, body, tries FROM alerts WHERE due_at <= ? ORDER BY due_at, rowid LIMIT 1"
LEASE = "UPDATE alerts SET due_at = ?, tries = tries + 1 WHERE id = ?"
BEGIN = """
    INSERT INTO outages (what, began_at) VALUES (:what, :at) ON CONFLICT (what) DO UPDATE
    SET began_at = :at, ended_at = NULL WHERE ended_at < :at"""
END = "UPDATE outages SET ended_at = ? WHERE what = ? AND ended_at IS NULL"


class EmbeddedAlerts:
    """An `AlertStore`. That the database itself was lost is noted in a file beside it."""

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._mark = path.with_name(f"{path.name}-lost")
        self._name: str | None = None

    async def claim(self, alerts: Iterable[Alert]) -> set[Claim]:
        return await self._database.write(partial(claim, alerts=list(alerts)))

    async def take(self, *, at: datetime, until: datetime) -> Message | None:
        if await self._database.read(partial(due, at=at)) is None:
            return None
        return await self._database.write(partial(take, at=at, until=until))

    async def postpone(self, id: str, due: datetime | None) -> None:
        await self._database.write(partial(postpone, id=id, due=due))

    async def outage(self, what: str) -> Outage | None:
        return await self._database.read(partial(outage, what=what))

    async def begin(self, what: str, alert: Alert, *, at: float) -> None:
        await self._database.write(partial(begin, what=what, alert=alert, at=at))

    async def end(self, what: str, alert: Alert, *, at: float) -> None:
        await self._database.write(partial(end, what=what, alert=alert, at=at))

    async def lost(self, alert: Alert) -> str | None:
        """Whoever makes the file tells it. Where nobody can, all do: under one id, which receivers know again."""
        try:
            await asyncio.to_thread(make, self._mark, alert.id)
            self._name = alert.id
        except FileExistsError:
            return None
        except OSError:
            digest = sha256(f"{self._mark}{alert.at.timestamp() // SAME_OUTAGE:.0f}".encode()).hexdigest()
            self._name = f"msg_{digest[:32]}"
        return self._name

    async def recovered(self) -> str | None:
        """Whoever removes the file tells it, and who told that it was lost: it may have gone with its folder.

        Of two who do, the one that is first claims it.
        """
        name, self._name = self._name, None
        with suppress(OSError):
            return await asyncio.to_thread(remove, self._mark)
        return name


def make(mark: Path, name: str) -> None:
    """Raises `FileExistsError` where it is there, and `OSError`."""
    with open(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(name)


def remove(mark: Path) -> str:
    """What stood in it. Raises `OSError` where it is not there, or another process is quicker."""
    name = mark.read_text(errors="replace")[:64]
    mark.unlink()
    return name


def claim(connection: Connection, *, alerts: list[Alert]) -> set[Claim]:
    """Claim each that nobody has claimed. Gives the claims that are in the database then."""
    for alert in alerts[:1]:
        connection.execute(FORGET, (iso(alert.at),))
    for alert in alerts:
        connection.execute(CLAIM, (
            alert.id, *alert.claim, alert.body, iso(alert.kept_until), iso(alert.at), MOST_WAITING))
    return {alert.claim for alert in alerts if connection.execute(CLAIMED, alert.claim).fetchone()}


@sound("an alert in it")
def due(connection: Connection, *, at: datetime) -> Message | None:
    for id, body, tries in connection.execute(DUE, (iso(at),)):
        return Message(str(id), bytes(body), int(tries))
    return None


def take(connection: Connection, *, at: datetime, until: datetime) -> Message | None:
    message = due(connection, at=at)
    if message is not None:
        connection.execute(LEASE, (iso(until), message.id))
    return message


def postpone(connection: Connection, *, id: str, due: datetime | None) -> None:
    connection.execute("UPDATE alerts SET due_at = ? WHERE id = ?", (due and iso(due), id))


@sound("an outage in it")
def outage(connection: Connection, *, what: str) -> Outage | None:
    for began_at, ended_at in connection.execute("SELECT began_at, ended_at FROM outages WHERE what = ?", (what,)):
        return Outage(float(began_at), None if ended_at is None else float(ended_at))
    return None


def begin(connection: Connection, *, what: str, alert: Alert, at: float) -> None:
    if connection.execute(BEGIN, {"what": what, "at": at}).rowcount:
        claim(connection, alerts=[alert])


def end(connection: Connection, *, what: str, alert: Alert, at: float) -> None:
    if connection.execute(END, (at, what)).rowcount:
        claim(connection, alerts=[alert])
