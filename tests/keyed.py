"""Keys for tests, made as the command line makes them."""
import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aioapp.clients import NANO, Budget, Limits
from aioapp.keys import Key, table
from aioapp.store.database import connect, transacted
from aioapp.store.place import database_path

LIMITS = frozenset(Limits.__dataclass_fields__)


def database() -> Path:
    """Where a server keeps its database that is told nothing of it."""
    return database_path(None, os.environ)


def make_key(name: str = "web", *, usd: float | None = None, **terms: Any) -> str:
    """A new key in the database; gives what its holder shows. `usd` is its budget for a day."""
    limits = Limits(**{term: terms.pop(term) for term in LIMITS & set(terms)})
    budget = None if usd is None else Budget(nanodollars=round(usd * NANO), per="day")
    at = terms.pop("at", datetime.now(UTC))
    key = Key(name=name, limits=limits, budget=budget, created_at=at, **terms)
    with closing(connect(database(), create=True)) as connection:
        return transacted(connection, lambda held: table.create(held, key, at=at))


def revoke(name: str) -> None:
    with closing(connect(database(), create=False)) as connection:
        transacted(connection, lambda held: table.revoke(held, name, at=datetime.now(UTC)))


def shown(secret: str) -> dict[str, str]:
    return {"X-API-Key": secret}
