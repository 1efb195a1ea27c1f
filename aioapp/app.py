"""The composition root: builds everything out of settings, and nothing else does."""
import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from aioapp.books import Books, open_books
from aioapp.callers import Limits
from aioapp import startup
from aioapp.credentials import Credentials, close, find_credentials, fixed
from aioapp.endpoints import OPERATIONS, endpoints
from aioapp.generation import Generate, compose
from aioapp.layers import Drain, budgeted, drained, metered, observed, timed
from aioapp.services import Services
from aioapp.settings import LIFELINE, SettingError, Settings, from_environ
from aioapp.settings.location import database_path
from aioapp.simulator.server import create_simulator
from aioapp.telemetry import logs
from aioapp.upstream.claude import Claude
from aioapp.upstream.retries import Retries
from aioapp.upstream.session import client_session
from aioapp.usage import DEFAULT_PRICES, parse_prices
from aioapp.web.access.policy import admitted, serve, tell_limits
from aioapp.web.context import SERVICES
from aioapp.web.cors import allow_origins
from aioapp.web.middlewares import conforming, explained, identified, logged, stamp
from aioapp.web.operations.operation import Operation
from aioapp.web.operations.websocket import SOCKET_SESSIONS, close_sockets
from aioapp.web.server.bounds import Bounds, Deadlines
from aioapp.web.server.runner import Runner

log = logging.getLogger("aioapp.app")

API = "https://api.anthropic.com"
LARGEST_BODY = 2**20
BOUNDS = web.AppKey("bounds", Bounds)


def create_app(
        settings: Settings, *, operations: Sequence[Operation] = OPERATIONS, upstream: Generate | None = None,
        credentials: Credentials | None = None, loopback: bool = False,
) -> web.Application:
    """The server as an aiohttp application.

    `upstream` and `credentials` stand in for Claude and for what the environment holds. `loopback` says that only this
    machine can reach the server; only then is a Claude Code login used.
    """
    app = web.Application(
        client_max_size=LARGEST_BODY, middlewares=[identified, logged, conforming, explained, admitted])
    app.on_response_prepare.append(stamp)
    app.on_response_prepare.append(tell_limits)
    serve(app, endpoints(operations))
    allow_origins(app, settings.cors_origins, credentials=settings.cors_credentials)
    app[SOCKET_SESSIONS] = set()
    app[BOUNDS] = bounds(settings)

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with services(settings, upstream=upstream, credentials=credentials, loopback=loopback) as app[SERVICES]:
            yield

    app.cleanup_ctx.append(run)
    app.on_shutdown.append(lambda app: drain(app, settings.shutdown_timeout))
    app.on_shutdown.append(close_sockets)
    return app


def runner_of(app: web.Application) -> web.AppRunner:
    """How the application must be run: a caller who leaves cancels its handler, which stops Claude too.

    The application itself waits for running generations when it ends; aiohttp's own wait only sweeps up behind it.
    """
    return Runner(app, bounds=app.get(BOUNDS) or bounds(Settings()), shutdown_timeout=1.0, logger=logs.server_logger())


def bounds(settings: Settings) -> Bounds:
    return Bounds(connections=settings.max_connections, deadlines=Deadlines(
        first_byte=settings.first_byte_timeout, head=settings.head_timeout, body=settings.body_timeout,
        idle=settings.keep_alive_timeout, stall=settings.stall_timeout))


async def drain(app: web.Application, seconds: float, *, delay: float = 0.0) -> None:
    """Refuse new generations and give the running ones `seconds`; what can be asked besides is still answered.

    For the `delay` before that, in seconds, only `/health` tells what is to come. It is for whoever holds the socket:
    when an application shuts down by itself, aiohttp has closed that already. A WebSocket on which nothing runs has
    nothing to wait for.
    """
    await app[SERVICES].drain.announce(delay)
    await asyncio.gather(app[SERVICES].drain.wait(seconds), close_sockets(app, idle=True))


async def create_runner() -> web.AppRunner:
    """For gunicorn: `gunicorn -k aiohttp.GunicornWebWorker aioapp.app:create_runner`. Settings are the environment's.

    Whether gunicorn's socket is on loopback cannot be known here, so a Claude Code login is never used.
    """
    settings = from_environ(os.environ)
    logs.configure(settings)
    try:
        startup.check(settings, database_path(settings.database, os.environ), where=None)
    except SettingError as error:
        # This may be a worker in the place of one that ended; gunicorn would end with a second one that does not start.
        log.error("%s", error)
    return runner_of(create_app(settings))


@asynccontextmanager
async def services(
        settings: Settings, *, upstream: Generate | None, credentials: Credentials | None, loopback: bool,
) -> AsyncIterator[Services]:
    """What handlers may reach, for as long as the server runs."""
    async with AsyncExitStack() as stack:
        base_url = settings.base_url
        if settings.simulate:
            base_url = await stack.enter_async_context(simulated(settings.simulate_pace))
            credentials = fixed("simulated", "simulator")
        if credentials is None:
            credentials = find_credentials(
                os.environ, loopback=loopback, home=Path.home(), base_url=base_url or API)
            stack.callback(close, credentials)
        if not credentials.status().is_usable:
            log.warning("%s", credentials.status().summary)
        if upstream is None:
            url = (base_url or credentials.base_url or API) + "/v1/messages"
            session = await stack.enter_async_context(client_session(url=url, connections=settings.connections))
            upstream = claude(settings, session=session, credentials=credentials, url=url)
        books = await stack.enter_async_context(opened(settings))
        drain = Drain()
        layers = (
            observed(began=books.began, ended=books.ended, cost=books.prices.cost), drained(drain),
            budgeted(limiter=books.authenticator.limiter, ledger=books.ledger, prices=books.prices), metered, timed)
        yield Services(
            generate=compose(upstream, *layers), credentials=credentials, authenticator=books.authenticator,
            database=books.database, ledger=books.ledger, metrics=books.metrics, drain=drain,
            model=settings.model, origins=frozenset(settings.cors_origins), total_timeout=settings.total_timeout,
            debug=settings.debug)


def opened(settings: Settings) -> AbstractAsyncContextManager[Books]:
    """The books that are set. A worker makes no database: it would be one without keys."""
    shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return open_books(
        database_path(settings.database, os.environ), create=LIFELINE not in os.environ,
        anonymous=Limits(requests_per_minute=settings.requests_per_minute, concurrency=settings.concurrency,
                         tokens_per_minute=settings.tokens_per_minute),
        allow_anonymous=settings.allow_anonymous, keep_prompts=settings.keep_prompts,
        prices=parse_prices(settings.prices) if settings.prices else DEFAULT_PRICES,
        shared_metrics=Path(shared) if shared else None)


def claude(settings: Settings, *, session: aiohttp.ClientSession, credentials: Credentials, url: str) -> Generate:
    return Claude(
        session=session, credentials=credentials, url=url, retries=Retries(sleep=asyncio.sleep),
        connect_timeout=settings.connect_timeout, idle_timeout=settings.idle_timeout).generate


@asynccontextmanager
async def simulated(pace: float) -> AsyncIterator[str]:
    """A simulator of the Messages API on a free port of loopback; gives its URL."""
    runner = web.AppRunner(
        create_simulator(pace=pace), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://{}:{}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()
