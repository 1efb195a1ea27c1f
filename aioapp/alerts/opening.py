"""All that alerts need, put together."""
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from aioapp.alerts.alert import AlertStore
from aioapp.alerts.budget_watch import BudgetWatch
from aioapp.alerts.credentials_watch import CredentialsWatch
from aioapp.alerts.database_watch import DatabaseWatch
from aioapp.alerts.delivery import Delivery
from aioapp.alerts.memory_outbox import MemoryOutbox
from aioapp.alerts.watch import watch
from aioapp.callers import Caller
from aioapp.generation import Observer
from aioapp.webhooks.sender import open_sender


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """`observers` are to be shown each generation, and `works` to be done all the time."""

    observers: tuple[Observer, ...] = ()
    works: tuple[Callable[[], Awaitable[None]], ...] = ()


@asynccontextmanager
async def open_alerts(
        store: AlertStore, *, url: str, secret: bytes, proxy: str | None, callers: Callable[[], Iterable[Caller]],
        sums: Callable[[], Mapping[tuple[str, str], int]], trouble: Callable[[], str | None],
        credentials: Callable[[], Mapping[str, object]],
) -> AsyncIterator[Alerts]:
    """Sends to `url`, by way of `proxy` where there is one.

    `callers` are those with a budget, `sums` what each has spent, `trouble` what the database cannot do, and
    `credentials` describes those for Claude.
    """
    memory, budgets = MemoryOutbox(), BudgetWatch(store, callers=callers, sums=sums, clock=partial(datetime.now, UTC))
    refusals = CredentialsWatch(store, described=credentials)
    database = DatabaseWatch(store, memory, trouble=trouble)
    async with open_sender(url, secret=secret, proxy=proxy) as send:
        yield Alerts(
            observers=(budgets.see, refusals.see), works=(
                partial(watch, (database.look, budgets.look, refusals.look)), Delivery(memory, store, send=send).run))
