"""The trail of what was done to keys: plain functions on a connection, whose transaction is their caller's."""
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from sqlite3 import Connection, Row

from aioapp.callers import Caller
from aioapp.keys.audit import COMMAND_LINE, DEEDS, Change, Deed, Entry, Page
from aioapp.keys.key import NAME
from aioapp.store.embedded.errors import sound
from aioapp.store.embedded.keys import rows, stamp

PAGE = """
    SELECT number, at, who, deed, key, changes FROM audit
    WHERE (?1 IS NULL OR number < ?1) AND (?2 IS NULL OR key = ?2) ORDER BY number DESC LIMIT ?3"""


def record(
        connection: Connection, deed: Deed, *, key: str, by: Caller | None, at: datetime,
        changes: Sequence[Change] = ()) -> None:
    """Note what is done to the key in this transaction."""
    connection.execute("INSERT INTO audit (at, who, deed, key, changes) VALUES (?, ?, ?, ?, ?)", (
        stamp(at), by.name if by else COMMAND_LINE, deed, key, json.dumps([asdict(change) for change in changes])))


@sound()
def page(connection: Connection, *, limit: int, before: int | None, key: str | None) -> Page:
    """At most `limit` entries, the latest first, and the cursor of what is older."""
    if key is not None and NAME.fullmatch(key) is None:  # other texts need not be ones that SQLite takes
        return Page(entries=(), next=None)
    found = [entry_of(row) for row in rows(connection, PAGE, before, key, limit + 1)]
    entries = tuple(found[:limit])
    return Page(entries=entries, next=entries[-1].number if len(found) > limit else None)


def entry_of(row: Row) -> Entry:
    with sound(f"entry {row['number']!a} of the trail in it"):
        at = datetime.fromisoformat(row["at"])
        if at.utcoffset() is None or row["deed"] not in DEEDS:
            raise ValueError("a time without its zone, or a deed that is none")
        changes = tuple(Change(**change) for change in json.loads(row["changes"]))
        return Entry(number=row["number"], at=at, by=row["who"], deed=row["deed"], key=row["key"], changes=changes)
