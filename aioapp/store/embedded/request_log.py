"""The generations and refusals that are kept one by one, a page at a time, the latest first.

They are in two tables, for refusals must push no generation out. A cursor is the place of a page's last row in the
order of both: its time, its table, and its number there.
"""
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection
from typing import NamedTuple

from aioapp.money import NANO
from aioapp.store.embedded.errors import sound
from aioapp.store.embedded.reports import TOKENS, select, stored
from aioapp.usage.usage_store import Figures, RequestsPage, Wanted

SHOWN = ("at", "request_id", "key", "model", "outcome", "error", "status", "transport", "stop_reason", *TOKENS)
GENERATIONS = f"""SELECT 0 AS refused, number, {', '.join(SHOWN)}, nanodollars, first, seconds, prompt FROM requests"""
REFUSALS = f"""SELECT 1 AS refused, number, at, request_id, key, model, 'refused' AS outcome, error, status, transport,
    NULL AS stop_reason, {', '.join(f'0 AS {name}' for name in TOKENS)}, 0 AS nanodollars, NULL AS first,
    0.0 AS seconds, NULL AS prompt FROM refused_requests"""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EQUAL = ("key", "model", "status", "error", "request_id")


class Place(NamedTuple):
    """Where a row stands. Of one moment, generations come first, and then what has the greater number."""

    at: str
    refused: int
    number: int


def page(connection: Connection, *, wanted: Wanted, limit: int, cursor: str | None) -> RequestsPage:
    return read(connection, wanted=wanted, limit=limit, after=None if cursor is None else place_of(cursor))


@sound()
def read(connection: Connection, *, wanted: Wanted, limit: int, after: Place | None) -> RequestsPage:
    parts = [f"SELECT * FROM ({select_of} WHERE {' AND '.join(conditions(wanted, after, refused=refused))} "
             "ORDER BY at DESC, number DESC LIMIT :limit + 1)"
             for refused, select_of in enumerate((GENERATIONS, REFUSALS)) if is_asked(wanted, refused=bool(refused))]
    query = " UNION ALL ".join(parts) + " ORDER BY at DESC, refused, number DESC LIMIT :limit + 1"
    found = select(connection, query, values=values_of(wanted, after) | {"limit": limit})
    last = found[limit - 1] if len(found) > limit else None
    return RequestsPage(
        requests=[request(row) for row in found[:limit]],
        next=None if last is None else cursor_of(Place(last["at"], last["refused"], last["number"])))


def is_asked(wanted: Wanted, *, refused: bool) -> bool:
    return wanted.outcome is None or (wanted.outcome == "refused") is refused


def conditions(wanted: Wanted, after: Place | None, *, refused: int) -> Iterator[str]:
    """What is true of the rows of one of the two tables."""
    yield "true"
    yield from (f"{name} = :{name}" for name in EQUAL if getattr(wanted, name) is not None)
    if wanted.outcome is not None and not refused:
        yield "outcome = :outcome"
    if wanted.since is not None:
        yield "at >= :since"
    if wanted.until is not None:
        yield "at < :until"
    if after is None:
        return
    if refused == after.refused:
        yield "(at, number) < (:at, :number)"
    else:
        yield "at <= :at" if refused > after.refused else "at < :at"


def values_of(wanted: Wanted, after: Place | None) -> Figures:
    until = wanted.until and f"{wanted.until.isoformat()}T99"  # no day has so late an hour, and the last one no morrow
    return {**{name: getattr(wanted, name) for name in (*EQUAL, "outcome")}, "key": stored(wanted.key),
            "since": wanted.since and wanted.since.isoformat(), "until": until,
            "at": after and after.at, "number": after and after.number}


def request(row: Figures) -> Figures:
    """A row as it is told."""
    shown = {name: row[name] for name in SHOWN}
    prompt = {} if row["prompt"] is None else {"prompt": row["prompt"]}
    first = None if row["first"] is None else round(row["first"], 3)
    return {**shown, "key": row["key"] or None, "cost_usd": row["nanodollars"] / NANO, "first_seconds": first,
            "seconds": round(row["seconds"], 3), **prompt}


def cursor_of(place: Place) -> str:
    """Milliseconds since 1970 in eleven digits of base 16, the table in one, and the number in fifteen."""
    since = datetime.fromisoformat(place.at) - EPOCH
    return f"{since // timedelta(milliseconds=1):011x}{place.refused}{place.number:015x}"


def place_of(cursor: str) -> Place:
    at = EPOCH + timedelta(milliseconds=int(cursor[:11], 16))
    return Place(at.isoformat(timespec="milliseconds"), int(cursor[11]), int(cursor[12:], 16))
