"""What the accounts show. Functions on a connection; days are of UTC, and both ends of a span belong to it."""
from datetime import date, timedelta
from sqlite3 import Connection

from aioapp.money import NANO
from aioapp.store.embedded.errors import sound
from aioapp.usage.usage_store import By, Figures

ANONYMOUS = "anonymous"
"""How callers without a key are called. No key may have this name."""
DAYS = 30
"""Days that a key sees of itself."""
TOKENS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
COUNTS = ("requests", "failed", "cancelled", *TOKENS)
SHOWN = ("at", "request_id", "key", "model", "outcome", "error", "stop_reason", *TOKENS)
SUMS = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in (*COUNTS, "nanodollars", "seconds"))
IN_SPAN = "FROM usage WHERE day BETWEEN :since AND :until"
ORDERS = {"day": "day", "key": "sum(nanodollars) DESC, key", "model": "sum(nanodollars) DESC, model"}


@sound()
def total(connection: Connection, *, since: date, until: date, key: str | None = None) -> Figures:
    """All figures of the span added up, of one key or of all callers."""
    [row] = rows(connection, f"SELECT {SUMS} {IN_SPAN} {of(key)}", since=since, until=until, key=key)
    return figures(row)


def by(connection: Connection, column: By, *, since: date, until: date, key: str | None = None) -> list[Figures]:
    """Figures by day, in the order of days and without those on which nothing was; by key or model, the dearest
    first. Each row also has the name it is of."""
    return [named(row, column) for row in grouped(connection, column, since=since, until=until, key=key)]


@sound()
def grouped(connection: Connection, column: By, *, since: date, until: date, key: str | None = None) -> list[Figures]:
    query = f"SELECT {column} AS name, {SUMS} {IN_SPAN} {of(key)} GROUP BY {column} ORDER BY {ORDERS[column]}"
    return rows(connection, query, since=since, until=until, key=key)


def named(row: Figures, column: By) -> Figures:
    return {column: row["name"] or ANONYMOUS, **figures(row)}


def total_and_by(connection: Connection, column: By, *, since: date, until: date) -> tuple[Figures, list[Figures]]:
    """Both in one pass over the span: the total is the sum of the rows."""
    found = grouped(connection, column, since=since, until=until)
    whole = {name: sum(row[name] for row in found) for name in (*COUNTS, "nanodollars", "seconds")}
    return figures(whole), [named(row, column) for row in found]


def own(connection: Connection, key: str | None, *, today: date) -> Figures:
    """What a key sees of itself: `today`, this calendar `month`, and the last 30 days by `days` and by `models`.

    Without a key, it is what all callers without one have used together.
    """
    name, span = key or ANONYMOUS, today - timedelta(days=DAYS - 1)
    return {
        "today": total(connection, since=today, until=today, key=name),
        "month": total(connection, since=today.replace(day=1), until=today, key=name),
        "days": by(connection, "day", since=span, until=today, key=name),
        "models": by(connection, "model", since=span, until=today, key=name),
    }


@sound()
def latest(connection: Connection, *, limit: int, key: str | None = None) -> list[Figures]:
    """The latest generations, the last one first. `prompt` is there where prompts are kept."""
    query = f"SELECT * FROM requests WHERE true {of(key)} ORDER BY number DESC LIMIT :limit"
    found = select(connection, query, values={"key": stored(key), "limit": limit})
    return [request(row) for row in found]


def request(row: Figures) -> Figures:
    shown = {name: row[name] for name in SHOWN}
    prompt = {} if row["prompt"] is None else {"prompt": row["prompt"]}
    first = None if row["first"] is None else round(row["first"], 3)
    return {**shown, "key": row["key"] or None, "cost_usd": row["nanodollars"] / NANO, "first_seconds": first,
            "seconds": round(row["seconds"], 3), **prompt}


def figures(row: Figures) -> Figures:
    return {**{name: row[name] for name in COUNTS}, "tokens": sum(row[name] for name in TOKENS),
            "cost_usd": row["nanodollars"] / NANO, "seconds": round(row["seconds"], 3)}


def rows(connection: Connection, query: str, *, since: date, until: date, key: str | None) -> list[Figures]:
    values = {"since": since.isoformat(), "until": until.isoformat(), "key": stored(key)}
    return select(connection, query, values=values)


def select(connection: Connection, query: str, *, values: Figures) -> list[Figures]:
    found = connection.execute(query, values)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row)) for row in found]


def of(key: str | None) -> str:
    return "" if key is None else "AND key = :key"


def stored(key: str | None) -> str | None:
    return "" if key == ANONYMOUS else key
