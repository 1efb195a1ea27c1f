"""What the accounts show. Functions on a connection; days are of UTC, and both ends of a span belong to it."""
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime, timedelta
from sqlite3 import Connection

from aioapp.callers import Limits, Period, Standing
from aioapp.errors import BadRequest
from aioapp.keys.state import LATELY
from aioapp.money import NANO
from aioapp.store.embedded.errors import sound
from aioapp.store.embedded.usage_table import SPENT
from aioapp.usage.usage_store import By, Figures

ANONYMOUS = "anonymous"
"""How callers without a key are called. No key may have this name."""
DAYS = 30
"""Days that a key sees of itself."""
TOKENS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
COUNTS = ("requests", "failed", "cancelled", *TOKENS)
LIMITS = frozenset(limit.name for limit in fields(Limits))
SUMMED = (*COUNTS, "nanodollars", "seconds")
SUMS = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in SUMMED)
COLUMNS = {"day": "day", "key": "key", "model": "model", "owner": "owner_of(key)"}
MOST_ROWS = 10_000
"""Of a report."""
MOST_REFUSALS = 1000
"""Rows that tell of refusals."""


@sound()
def total(connection: Connection, *, since: date, until: date, key: str | None = None) -> Figures:
    """All figures of the span added up, of one key or of all callers."""
    [row] = rows(connection, f"SELECT {SUMS} FROM usage {span(key)}", since=since, until=until, key=key)
    [refused] = rows(connection, f"SELECT coalesce(sum(requests), 0) AS refused FROM refusals {span(key)}",
                     since=since, until=until, key=key)
    return figures(row | refused)


def by(connection: Connection, columns: Sequence[By], *, since: date, until: date, key: str | None = None,
       ) -> list[Figures]:
    """Figures by these columns: days in their order, and of each the dearest first. What was refused is not told by
    model: most of it came before a model was known."""
    found = grouped(connection, columns, since=since, until=until, key=key)
    return [named(row, columns) for row in found]


@sound()
def grouped(connection: Connection, columns: Sequence[By], *, since: date, until: date, key: str | None = None,
            ) -> list[Figures]:
    """Raises `BadRequest` for too many rows."""
    found = gathered(connection, SUMS, table="usage", columns=columns, since=since, until=until, key=key)
    if "model" not in columns:
        refused = gathered(connection, "sum(requests) AS refused", table="refusals",
                           columns=columns, since=since, until=until, key=key)
        none = dict.fromkeys(SUMMED, 0) | {"refused": 0}
        found = {names: none | found.get(names, {}) | refused.get(names, {}) for names in found | refused}
    if len(found) > MOST_ROWS:
        raise BadRequest(f"These are more than {MOST_ROWS} rows: choose a shorter span, or less to go by.")
    return sorted(found.values(), key=lambda row: (
        row.get("day", ""), -row["nanodollars"], -row.get("refused", 0), *(row[name] for name in columns)))


def gathered(
        connection: Connection, sums: str, *, table: str, columns: Sequence[By], since: date, until: date,
        key: str | None,
) -> dict[tuple[str, ...], Figures]:
    """Sums by the values of the columns, of a table that has a day and a key."""
    names = ", ".join(f"{COLUMNS[name]} AS {name}" for name in columns)
    query = (f"SELECT {names}, {sums} FROM {table} {span(key)} GROUP BY {numbers(columns)} "
             f"LIMIT {MOST_ROWS + 1}")
    found = rows(connection, query, since=since, until=until, key=key)
    return {tuple(row[name] for name in columns): row for row in found}


def numbers(columns: Sequence[By]) -> str:
    return ", ".join(str(number) for number, _ in enumerate(columns, 1))


def named(row: Figures, columns: Sequence[By]) -> Figures:
    names = {name: row[name] or (ANONYMOUS if name == "key" else None) for name in columns}
    return {**{str(name): value for name, value in names.items()}, **figures(row)}


@sound()
def owners(connection: Connection) -> dict[str, str]:
    """Of each key that has one, its owner now."""
    return dict(connection.execute("SELECT name, owner FROM keys WHERE owner IS NOT NULL").fetchall())


def total_and_by(
        connection: Connection, columns: Sequence[By], *, since: date, until: date, owners: Mapping[str, str],
) -> tuple[Figures, list[Figures]]:
    """Both in one pass over the span: the total is the sum of the rows. Keys may be kept elsewhere, so `owners` are
    given."""
    connection.create_function("owner_of", 1, lambda key: owners.get(key, ""), deterministic=True)
    found = grouped(connection, columns, since=since, until=until)
    if "model" in columns:
        [refused] = rows(connection, f"SELECT coalesce(sum(requests), 0) AS refused FROM refusals {span(None)}",
                         since=since, until=until, key=None)
    else:
        refused = {"refused": sum(row["refused"] for row in found)}
    whole = {name: sum(row[name] for row in found) for name in SUMMED} | refused
    return figures(whole), [named(row, columns) for row in found]


@sound()
def refusals(connection: Connection, *, since: date, until: date, key: str | None = None) -> list[Figures]:
    """How often each key was refused for each reason, and when that was last: the most frequent first."""
    query = ("SELECT key, reason, sum(requests) AS requests, max(last_at) AS last_at FROM refusals "
             f"{span(key)} GROUP BY key, reason ORDER BY 3 DESC, key, reason LIMIT {MOST_REFUSALS}")
    found = rows(connection, query, since=since, until=until, key=key)
    return [{**row, "key": row["key"] or ANONYMOUS} for row in found]


@sound()
def standings(connection: Connection, *, at: datetime, key: str | None = None) -> dict[str, Standing]:
    """Where each key stands, or one of them."""
    day, lately = at.date().isoformat(), (at - LATELY).isoformat(timespec="milliseconds")
    values = {"day": day, "month": day[:7], "key": key, "lately": lately, "since": lately[:10]}
    spent = select(connection, f"{SPENT} {of(key)}", values=values)
    late = select(connection, f"SELECT key, reason, max(last_at) AS last_at FROM refusals WHERE day >= :since "
                              f"AND last_at >= :lately {of(key)} GROUP BY key, reason", values=values)
    amounts: defaultdict[str, dict[Period, int]] = defaultdict(dict)
    for row in spent:
        amounts[row["key"]]["day" if row["period"] == day else "month"] = row["nanodollars"]
    refused: defaultdict[str, dict[bool, datetime]] = defaultdict(dict)
    for row in late:
        if (unpaid := row["reason"] == "budget") or row["reason"] in LIMITS:
            last = datetime.fromisoformat(row["last_at"])
            refused[row["key"]][unpaid] = max(last, refused[row["key"]].get(unpaid, last))
    return {name: Standing(spent=amounts[name], limited_at=refused[name].get(False), unpaid_at=refused[name].get(True))
            for name in {*amounts, *refused}}


def own(connection: Connection, key: str | None, *, today: date) -> Figures:
    """What a key sees of itself: `today`, this calendar `month`, and the last 30 days by `days` and by `models`.

    Without a key, it is what all callers without one have used together.
    """
    name, first = key or ANONYMOUS, today - timedelta(days=DAYS - 1)
    return {
        "today": total(connection, since=today, until=today, key=name),
        "month": total(connection, since=today.replace(day=1), until=today, key=name),
        "days": by(connection, ["day"], since=first, until=today, key=name),
        "models": by(connection, ["model"], since=first, until=today, key=name),
        "refusals": [{name: row[name] for name in ("reason", "requests", "last_at")}
                     for row in refusals(connection, since=first, until=today, key=name)],
    }


def figures(row: Figures) -> Figures:
    told = (*COUNTS, "refused") if "refused" in row else COUNTS
    return {**{name: row[name] for name in told}, "tokens": sum(row[name] for name in TOKENS),
            "cost_usd": row["nanodollars"] / NANO, "seconds": round(row["seconds"], 3)}


def rows(connection: Connection, query: str, *, since: date, until: date, key: str | None) -> list[Figures]:
    values = {"since": since.isoformat(), "until": until.isoformat(), "key": stored(key)}
    return select(connection, query, values=values)


def select(connection: Connection, query: str, *, values: Figures) -> list[Figures]:
    found = connection.execute(query, values)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row)) for row in found]


def span(key: str | None) -> str:
    return f"WHERE day BETWEEN :since AND :until {of(key)}"


def of(key: str | None) -> str:
    return "" if key is None else "AND key = :key"


def stored(key: str | None) -> str | None:
    return "" if key == ANONYMOUS else key
