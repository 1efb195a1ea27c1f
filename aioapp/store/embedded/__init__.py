"""The store of one machine: an SQLite database, and a file that all its processes map."""
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aioapp.errors import StoreUnavailable
from aioapp.store.embedded.alerts import EmbeddedAlerts
from aioapp.store.embedded.allowance import EmbeddedAllowance
from aioapp.store.embedded.board.board import open_board
from aioapp.store.embedded.database import Database
from aioapp.store.embedded.errors import reason
from aioapp.store.embedded.key_store import EmbeddedKeys
from aioapp.store.embedded.limiter import Limiter
from aioapp.store.embedded.marker import check_new
from aioapp.store.embedded.outages import Outages
from aioapp.store.embedded.usage import EmbeddedUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedStore:
    """A `Store`."""

    keys: EmbeddedKeys
    allowance: EmbeddedAllowance
    usage: EmbeddedUsage
    alerts: EmbeddedAlerts

    async def run(self) -> None:
        await self.usage.run()


def reason_of(error: StoreUnavailable) -> str:
    """Why the store cannot be used, in one line."""
    return reason(error.__cause__) if isinstance(error.__cause__, Exception) else str(error)


def check_exists(path: Path) -> None:
    """Raises `StoreUnavailable` where there is no database yet."""
    try:
        check_new(path)
        if not path.exists():
            raise FileNotFoundError("there is none. `aioapp keys create NAME` makes it with the first key")
    except OSError as error:
        raise StoreUnavailable() from error


@asynccontextmanager
async def open_store(path: Path, *, create: bool, quiet: bool = False) -> AsyncIterator[EmbeddedStore]:
    """The store whose database is at `path`; with `create`, it is made where there is none.

    A database that cannot be used is no failure here: it is tried again and again, and callers are told meanwhile.
    Unless it is `quiet`, the log is told too.
    """
    outages = Outages(path, quiet=quiet)
    database = Database(path, create=create, outages=outages)
    limiter = Limiter(lambda: open_board(path.with_name(f"{path.name}-limits"), patience=0.0), waiting=False)
    # A report over years takes seconds: in the one thread, nobody's key would be looked up meanwhile.
    reports = Database(path, create=False, outages=outages)
    usage = EmbeddedUsage(database, limiter, reports=reports)
    try:
        await usage.refresh()
        yield EmbeddedStore(keys=EmbeddedKeys(database), allowance=EmbeddedAllowance(limiter, usage), usage=usage,
                            alerts=EmbeddedAlerts(database, path))
    finally:
        try:
            await asyncio.gather(database.close(), reports.close())
        finally:
            limiter.close()
