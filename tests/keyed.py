"""Keys for tests, made as the command line makes them."""
import os
import sqlite3
from contextlib import closing
from functools import partial
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aioapp.callers import Budget, Caller, Limits
from aioapp.money import NANO
from aioapp.keys import Key
from aioapp.settings.location import database_path
from aioapp.store.embedded import keys as table
from aioapp.store.embedded import simulated_beside
from aioapp.store.embedded import usage_table
from aioapp.store.embedded.database import connect, transacted
from aioapp.usage.buffer import Pending
from tests.generations import SONNET, ended

LIMITS = frozenset(Limits.__dataclass_fields__)


def database() -> Path:
    """Where a server keeps its database that is told nothing of it."""
    return database_path(None, os.environ)


def accounts() -> Path:
    """Where such a server keeps what was used, if its Claude is simulated."""
    return simulated_beside(database())


def make_key(
        name: str = "web", *, usd: float | None = None, strict: bool = False, spent: float = 0.0, **terms: Any) -> str:
    """A new key; gives what its holder shows. `usd` is its budget for a day, of which so much is `spent`, with a
    simulated Claude too."""
    limits = Limits(**{term: terms.pop(term) for term in LIMITS & set(terms)})
    budget = None if usd is None else Budget(nanodollars=round(usd * NANO), per="day", strict=strict)
    at = terms.pop("at", datetime.now(UTC))
    key = Key(name=name, limits=limits, budget=budget, created_at=at, **terms)
    with closing(connect(database(), create=True)) as connection:
        if spent:
            used = Pending()
            used.add(ended(Caller(name=name, known=True), round(spent * NANO)), at=at.isoformat(), model=SONNET,
                     prompt=None)
            with closing(connect(accounts(), create=True)) as simulated:
                for books in (connection, simulated):
                    transacted(books, partial(usage_table.write, batch=used))
        return transacted(connection, lambda held: table.create(held, key, at=at))


def revoke(name: str) -> None:
    with closing(connect(database(), create=False)) as connection:
        transacted(connection, lambda held: table.revoke(held, name, at=datetime.now(UTC)))


def shown(secret: str) -> dict[str, str]:
    return {"X-API-Key": secret}


def checkpointed(path: Path) -> Path:
    """The database, with all that it holds in this one file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def garbled(path: Path) -> bytes:
    """The database at `path` with one byte changed: a column's name is no text any more, which SQLite does not mind."""
    return checkpointed(path).read_bytes().replace(b"tokens_per_minute INTEGER", b"\xffokens_per_minute INTEGER", 1)
