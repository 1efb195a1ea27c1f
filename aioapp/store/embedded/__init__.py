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
from aioapp.usage.buffer import KEPT


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


def simulated_beside(path: Path) -> Path:
    """Where the accounts of a simulated Claude are, for keys that are in the database at `path`."""
    return path.with_name(f"{path.name}-simulated")


@asynccontextmanager
async def open_store(
        path: Path, *, create: bool, quiet: bool = False, simulated: bool = False, keep_requests: int = KEPT,
) -> AsyncIterator[EmbeddedStore]:
    """The store whose database is at `path`; with `create`, it is made where there is none. The latest generations are
    kept one by one: so many of them.

    Where Claude is `simulated`, nothing is spent: usage, budgets and limits are kept apart, in files beside those of
    the database, so that no server that spends money ever sees them. The keys are the same.

    A database that cannot be used is no failure here: it is tried again and again, and callers are told meanwhile.
    Unless it is `quiet`, the log is told too.
    """
    outages = Outages(path, quiet=quiet)
    database = Database(path, create=create, outages=outages)
    accounts = simulated_beside(path) if simulated else path
    limiter = Limiter(lambda: open_board(accounts.with_name(f"{accounts.name}-limits"), patience=0.0), waiting=False)
    written = Database(accounts, create=True, outages=outages) if simulated else database
    # A report over years takes seconds: in the one thread, nobody's key would be looked up meanwhile.
    reports = Database(accounts, create=False, outages=outages)
    usage = EmbeddedUsage(
        written, limiter, reports=reports, keys=database if simulated else None, keep=keep_requests)
    try:
        await usage.refresh()
        yield EmbeddedStore(keys=EmbeddedKeys(database), allowance=EmbeddedAllowance(limiter, usage), usage=usage,
                            alerts=EmbeddedAlerts(database, path))
    finally:
        try:
            await asyncio.gather(*(one.close() for one in {database, written, reports}))
        finally:
            limiter.close()
