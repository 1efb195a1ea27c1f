"""What operators are told of the whole server: which parts of it are looked at for alerts, and for gauges."""
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from aioapp.alerts.opening import Alerts, open_alerts
from aioapp.background import running
from aioapp.callers import Caller
from aioapp.credentials import Credentials
from aioapp.generation import Observer
from aioapp.keys import Key, Keyring
from aioapp.settings import Settings
from aioapp.store import Store
from aioapp.telemetry.metrics import Metrics
from aioapp.telemetry.standings import Standings
from aioapp.upstream.session import proxy_for

log = logging.getLogger("aioapp.app")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """`everybody` has the server's own budget, if there is one."""

    store: Store
    keyring: Keyring
    credentials: Credentials
    everybody: Caller

    @asynccontextmanager
    async def told(self, metrics: Metrics, settings: Settings) -> AsyncIterator[Iterable[Observer]]:
        """Gauges in `metrics`, and alerts to the webhook that is set, for which observers are to see generations."""
        async with AsyncExitStack() as stack:
            alerts = await stack.enter_async_context(self.alerts(settings))
            for work in (*alerts.works, self.measuring(metrics)):
                await stack.enter_async_context(running(work, without="Alerts and gauges are no longer kept"))
            yield alerts.observers

    @asynccontextmanager
    async def alerts(self, settings: Settings) -> AsyncIterator[Alerts]:
        """Alerts to the webhook that is set, if one is."""
        url, secret, usage = settings.alert_webhook, settings.alert_webhook_secret, self.store.usage
        if url is None or secret is None:
            yield Alerts()
            return
        log.info("Alerts go to %s.", urlsplit(url).hostname)  # the rest of it may be what lets in whoever knows it
        async with open_alerts(
                self.store.alerts, url=url, secret=secret, proxy=proxy_for(url), callers=self.budgeted,
                sums=lambda: usage.sums, trouble=lambda: usage.trouble, credentials=self.described) as alerts:
            yield alerts

    def measuring(self, metrics: Metrics) -> Callable[[], Awaitable[None]]:
        """Has `metrics` ask for keys and budgets. Gives what is to be done all the time, for the other gauges."""
        metrics.ask(Standings(keys=self.keys, sums=lambda: self.store.usage.sums, everybody=self.everybody))
        return partial(metrics.vitals.run, credentials=lambda: self.credentials.status().is_valid,
                       database=lambda: self.store.usage.trouble is None)

    def keys(self) -> Iterable[Key]:
        return {holder.key.name: holder.key for holder in self.keyring.holders}.values()

    def budgeted(self) -> Iterable[Caller]:
        """All who have a budget that can be spent, the whole server included."""
        holders = {holder.key.name: holder.caller for holder in self.keyring.holders
                   if holder.caller.budget is not None and holder.key.revoked_at is None}
        return (self.everybody, *holders.values())

    def described(self) -> Mapping[str, object]:
        """The credentials, without any part of them."""
        status = self.credentials.status()
        return {"source": status.source, "auth_type": status.kind}
