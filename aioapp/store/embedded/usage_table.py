"""The accounts in the database: plain functions on a connection, whose transaction is their caller's."""
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from sqlite3 import Connection

from aioapp.callers import EVERYBODY
from aioapp.store.embedded.errors import sound
from aioapp.usage.buffer import KEPT, REFUSALS_KEPT, Pending

Account = tuple[str, str]
"""A key, or `EVERYBODY`, and a period: a day such as 2026-11-23, or a month such as 2026-11."""

SPENT = "SELECT key, period, nanodollars FROM spent WHERE period IN (:day, :month)"


COLUMNS = ("requests", "failed", "cancelled", "input_tokens", "output_tokens", "cache_creation_input_tokens",
           "cache_read_input_tokens", "nanodollars", "seconds")
ADD_UP = (f"INSERT INTO usage (day, key, model, {', '.join(COLUMNS)}) VALUES ({', '.join('?' * (3 + len(COLUMNS)))}) "
          f"ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in COLUMNS)}")
INSERT = ("INSERT INTO requests (at, request_id, key, model, outcome, error, stop_reason, input_tokens, output_tokens, "
          "cache_creation_input_tokens, cache_read_input_tokens, nanodollars, first, seconds, prompt, status, "
          "transport) "
          f"VALUES ({', '.join('?' * 17)})")
USED = "INSERT INTO last_used (key, at) VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)"
PRUNE = "DELETE FROM requests WHERE number <= (SELECT max(number) FROM requests) - ?"
REFUSED = ("INSERT INTO refusals (day, key, reason, requests, last_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
           "SET requests = requests + excluded.requests, last_at = max(last_at, excluded.last_at)")
INSERT_REFUSED = ("INSERT INTO refused_requests (at, request_id, key, model, error, status, transport) "
                  "VALUES (?, ?, ?, ?, ?, ?, ?)")
PRUNE_REFUSED = ("DELETE FROM refused_requests WHERE number <= "
                 f"(SELECT max(number) FROM refused_requests) - {REFUSALS_KEPT}")


def add(counter: Counter[Account], spent: Iterable[tuple[str, str, int]]) -> None:
    for day, key, nanodollars in spent:
        for whose in (key, EVERYBODY):
            counter[whose, day] += nanodollars
            counter[whose, day[:7]] += nanodollars


@sound()
def read_spent(connection: Connection, day: str) -> Counter[Account]:
    """What the database says that every key, and everybody, has spent on `day` and in its month."""
    rows = connection.execute(SPENT, {"day": day, "month": day[:7]})
    found = Counter({(key, period): int(nanodollars) for key, period, nanodollars in rows})
    for period in (day, day[:7]):
        found[EVERYBODY, period] = sum(amount for (_, of), amount in found.items() if of == period)
    return found


def write(connection: Connection, *, batch: Pending, keep: int = KEPT) -> None:
    """Add the batch up, keep the latest generations and refusals one by one, and when each key was used last."""
    write_used(connection, batch=batch)
    connection.executemany(ADD_UP, (tuple(chain(group, sums)) for group, sums in batch.sums.items()))
    connection.executemany(INSERT, batch.requests)
    connection.execute(PRUNE, (keep,))
    if batch.refusals:
        connection.executemany(REFUSED, (tuple(chain(group, counted)) for group, counted in batch.refusals.items()))
        connection.executemany(INSERT_REFUSED, batch.refused)
        connection.execute(PRUNE_REFUSED)


def write_used(connection: Connection, *, batch: Pending) -> None:
    connection.executemany(USED, {key: at for at, _, key, *_ in batch.requests if key}.items())
