"""All that a handler may reach, and how it is opened."""
import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aioapp.background import running
from aioapp.callers import Caller, Limits, everybody
from aioapp.credentials import Credentials
from aioapp.generation import Admission, Call, Generate, call_for, compose
from aioapp.keys import Keyring
from aioapp.keys.authenticator import Authenticator
from aioapp.keys.key_store import KeyStore
from aioapp.layers import Drain, budgeted, drained, metered, observed, timed
from aioapp.limits import Allowance
from aioapp.limits.server_budget import held_to
from aioapp.messages.prompt import Prompt
from aioapp.settings import Settings
from aioapp.settings.location import database_path
from aioapp.store import Store
from aioapp.store.embedded import open_store
from aioapp.telemetry.metrics import Metrics
from aioapp.telemetry.observers import accounting, counting, refunding
from aioapp.upstream.claude import Claude
from aioapp.upstream.passing import Passing
from aioapp.upstream.retries import Retries
from aioapp.upstream.session import open_transport
from aioapp.usage import DEFAULT_PRICES, Ledger, Prices, parse_prices
from aioapp.usage.usage_store import UsageStore
from aioapp.watched import Watched

API = "https://api.anthropic.com"
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

log = logging.getLogger("aioapp.app")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`everybody` has the server's own budget, if there is one. `origins` are those whose pages may call, `passing` is
    None where something stands in for Claude.

    In seconds: `total_timeout`, `heartbeat`, after which a silent stream gets a comment, `ping`, after which a silent
    socket gets one, and `introduction`, within which a caller shows its key on a socket or in the form to sign in.
    """

    generate: Generate
    passing: Passing | None = None
    credentials: Credentials
    authenticator: Authenticator
    allowance: Allowance
    keys: KeyStore
    usage: UsageStore
    everybody: Caller
    ledger: Ledger
    prices: Prices
    metrics: Metrics
    drain: Drain
    model: str
    origins: frozenset[str]
    total_timeout: float
    heartbeat: float = 15.0
    ping: float = 30.0
    introduction: float = 10.0
    debug: bool = False
    simulated: bool = False
    log_probes: bool = False

    def call(self, prompt: Prompt, *, live: bool, admission: Admission) -> tuple[Call, tuple[str, ...]]:
        """The call for `prompt`, fitted to its model, and a warning for each setting that was left out."""
        fit, warnings = prompt.fitted(prompt.model or self.model)
        deadline = asyncio.get_running_loop().time() + self.total_timeout
        return call_for(fit, deadline=deadline, live=live, admission=admission), warnings

    def allows(self, origin: str) -> bool:
        return "*" in self.origins or origin.lower() in self.origins


@asynccontextmanager
async def open_services(
        settings: Settings, *, environ: Mapping[str, str], credentials: Credentials, base_url: str | None,
        upstream: Generate | None, create: bool,
) -> AsyncIterator[Services]:
    """What handlers may reach, for as long as the server runs.

    `base_url` is Claude's, `upstream` stands in for it; with `create` the database is made where there is none.
    """
    async with AsyncExitStack() as stack:
        generate, passing = (upstream, None) if upstream is not None else await stack.enter_async_context(
            open_claude(settings, credentials=credentials, url=base_url or credentials.base_url or API))
        store: Store = await stack.enter_async_context(
            open_store(database_path(settings.database, environ), create=create, simulated=settings.simulate,
                       keep_requests=settings.keep_requests))
        whole = everybody(settings.server_budget)
        allowance, keyring = held_to(store.allowance, whole), Keyring(store.keys)
        ledger = Ledger(store.usage, keep_prompts=settings.keep_prompts, everybody=whole)
        await keyring.refresh()
        stack.push_async_callback(ledger.close)
        for work in (keyring.run, ledger.run, store.run):
            await stack.enter_async_context(running(work))
        metrics, drain = Metrics(shared=folder(environ.get(METRICS_FOLDER))), Drain()
        prices = parse_prices(settings.prices) if settings.prices else DEFAULT_PRICES
        watched = Watched(store=store, keyring=keyring, credentials=credentials, everybody=whole)
        alerting = await stack.enter_async_context(watched.told(metrics, settings))

        layers = (
            observed(began=lambda generation: metrics.in_flight(+1), ended=(
                refunding(allowance), counting(metrics, prices.name), accounting(ledger), *alerting)),
            drained(drain), budgeted(allowance=allowance, prices=prices), metered, timed)
        yield Services(
            generate=compose(generate, *layers), passing=passing, credentials=credentials,
            allowance=allowance, keys=store.keys, usage=store.usage, everybody=whole, ledger=ledger, prices=prices,
            metrics=metrics, drain=drain, model=settings.model,
            authenticator=Authenticator(keyring=keyring, anonymous=anonymous(settings), open=settings.allow_anonymous),
            origins=frozenset(settings.cors_origins), total_timeout=settings.total_timeout, debug=settings.debug,
            simulated=settings.simulate, log_probes=settings.log_probes)


@asynccontextmanager
async def open_claude(
        settings: Settings, *, credentials: Credentials, url: str) -> AsyncIterator[tuple[Generate, Passing]]:
    """The way to Claude: what generates, and what passes on other questions as they came."""
    async with open_transport(
            url, connections=settings.connections, timeout=settings.connect_timeout) as transport:
        claude = Claude(transport=transport, credentials=credentials, retries=Retries(sleep=asyncio.sleep),
                        idle_timeout=settings.idle_timeout)
        yield claude.generate, Passing(
            transport=transport, credentials=credentials, silence=settings.idle_timeout)


def anonymous(settings: Settings) -> Limits:
    return Limits(requests_per_minute=settings.requests_per_minute, concurrency=settings.concurrency,
                  tokens_per_minute=settings.tokens_per_minute)


def folder(name: str | None) -> Path | None:
    return Path(name) if name else None
