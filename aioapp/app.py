"""The application: its routes, its middlewares, and for how long what they need is open."""
import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from aioapp import startup
from aioapp.credentials import Credentials, close, find_credentials, fixed
from aioapp.endpoints import OPERATIONS, endpoints as all_endpoints
from aioapp.generation import Generate
from aioapp.services import API, Services, open_services
from aioapp.settings import LIFELINE, SettingError, Settings, from_environ, log_format
from aioapp.settings.location import database_path
from aioapp.simulator.server import create_simulator
from aioapp.telemetry import logs
from aioapp.web.access.policy import admitted, serve
from aioapp.web.access.ratelimit_headers import tell_limits
from aioapp.web.context import SERVICES
from aioapp.web.cors import allow_origins
from aioapp.web.endpoint import Endpoint
from aioapp.web.event_stream import HEARTBEATS, Heartbeats
from aioapp.web.middlewares import conforming, explained, identified, logged, stamp
from aioapp.web.operations.large_bodies import LARGE_BODIES, LargeBodies
from aioapp.web.operations.operation import Operation
from aioapp.web.operations.websocket import SOCKET_SESSIONS, close_sockets
from aioapp.web.bounds import Bounds, Deadlines
from aioapp.web.proxies import PROXIES, Proxies
from aioapp.web.server.runner import Runner

log = logging.getLogger("aioapp.app")

LARGEST_BODY = 2**20
BOOT_ERROR = 3
"""The status of a worker of gunicorn that could not start, with which gunicorn ends too."""
BOUNDS = web.AppKey("bounds", Bounds)


def create_app(
        settings: Settings, *, operations: Sequence[Operation] = OPERATIONS, endpoints: Sequence[Endpoint] = (),
        upstream: Generate | None = None, credentials: Credentials | None = None, loopback: bool = False,
) -> web.Application:
    """The server as an aiohttp application. `endpoints` are your own, beside ours.

    `upstream` and `credentials` stand in for Claude and for what the environment holds. `loopback` says that only this
    machine can reach the server; only then is a Claude Code login used.
    """
    app = web.Application(
        client_max_size=LARGEST_BODY, middlewares=[identified, logged, conforming, explained, admitted])
    app.on_response_prepare.append(stamp)
    app.on_response_prepare.append(tell_limits)
    serve(app, all_endpoints(operations, endpoints))
    allow_origins(app, settings.cors_origins, credentials=settings.cors_credentials)
    app[SOCKET_SESSIONS], app[HEARTBEATS], app[LARGE_BODIES] = set(), Heartbeats(), LargeBodies()
    app[BOUNDS], app[PROXIES] = bounds(settings), Proxies(settings.trusted_proxies)

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with opened(settings, upstream=upstream, credentials=credentials, loopback=loopback) as app[SERVICES]:
            yield
            app[HEARTBEATS].close()

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
    drain = app[SERVICES].drain
    if not drain.begun:
        log.info("Stopping: %d generations still run, and get %g s to end.", drain.running, delay + seconds)
    await drain.announce(delay)
    await asyncio.gather(drain.wait(seconds), close_sockets(app, idle=True))


async def create_runner() -> web.AppRunner:
    """For gunicorn: `gunicorn -k aiohttp.GunicornWebWorker aioapp.app:create_runner`. Settings are the environment's.

    Whether gunicorn's socket is on loopback cannot be known here, so a Claude Code login is never used.
    """
    try:
        settings = from_environ(os.environ)
        logs.configure(settings)
        startup.check_prices(settings)
    except SettingError as error:
        raise SystemExit(refused(error)) from None
    try:
        await startup.check(settings, database_path(settings.database, os.environ), where=None)
    except SettingError as error:
        # This may be a worker in the place of one that ended; gunicorn would end with a second one that does not start.
        log.error("%s", error)
    return runner_of(create_app(settings))


def refused(error: SettingError) -> int:
    """Say it in one line. Gives the status by which gunicorn knows that it need not start another worker."""
    logs.configure(Settings(log_format=log_format((), os.environ)))
    log.critical("%s", error)
    return BOOT_ERROR


@asynccontextmanager
async def opened(
        settings: Settings, *, upstream: Generate | None, credentials: Credentials | None, loopback: bool,
) -> AsyncIterator[Services]:
    """What handlers may reach. A worker makes no database: it would be one without keys."""
    async with AsyncExitStack() as stack:
        base_url = settings.base_url
        if settings.simulate:
            base_url = await stack.enter_async_context(simulated(settings.simulate_pace))
            credentials = fixed("simulated", "simulator")
        if credentials is None:
            credentials = find_credentials(os.environ, loopback=loopback, home=Path.home(), base_url=base_url or API)
            stack.callback(close, credentials)
        found = credentials.status()
        log.log(logging.INFO if found.is_usable else logging.WARNING, "%s", found.summary)
        yield await stack.enter_async_context(open_services(
            settings, environ=os.environ, credentials=credentials, base_url=base_url, upstream=upstream,
            create=LIFELINE not in os.environ))


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
