"""The command line: `python -m aioapp`."""
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import aioapp
from aioapp import startup
from aioapp.cli import keys, supervisor
from aioapp.cli.sockets import BACKLOG, address_of, is_loopback, listen, reachable_at
from aioapp.cli.supervisor.lifeline import READY, follow, write
from aioapp.settings import LIFELINE, SettingError, Settings, from_command_line, log_format
from aioapp.settings.location import database_path
from aioapp.telemetry import logs

if TYPE_CHECKING:
    from aiohttp.web import Application

log = logging.getLogger("aioapp.app")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
HANGUP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
"""Windows has none."""


class Build(Protocol):
    """What makes the application: `create_app`, or a function of yours that calls it."""

    def __call__(self, settings: Settings, *, loopback: bool) -> "Application": ...


def main(argv: Sequence[str] | None = None, *, build: Build | None = None) -> int:
    """Serve what `build` makes until a signal ends it; `keys …` and `bench …` are commands of their own.

    Returns the exit status: 2 for a setting that cannot be used.

    Workers are started as this process was, so whoever passes `argv` passes none that asks for them.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["keys"]:
        return keys.run(given[1:], os.environ)
    if given[:1] == ["bench"]:
        from aioapp.cli.bench.command import run  # aiohttp's client is not loaded to serve
        return run(given[1:], os.environ)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C before we can end in order ends us without a traceback
    try:
        settings = from_command_line(given, os.environ)
        supervisor.check(settings)
        logs.configure(settings)
        listening = prepared(settings)
    except SettingError as error:
        return refused(error, form=log_format(given, os.environ))
    raise_file_limit()
    greeting = partial(greet, listening, form=settings.log_format)
    with listening, asyncio.Runner(loop_factory=loop_factory()) as runner:
        if settings.supervised:
            runner.run(supervisor.supervise(
                settings, listening, program=sys.orig_argv[1:], environ=os.environ,
                stop=first_signal, address=address_of(listening), answering=greeting))
        else:
            runner.run(serve(settings, listening, build=build, greeting=greeting))
    return 0


async def serve(
        settings: Settings, listening: socket.socket, *, build: Build | None, greeting: Callable[[], None],
) -> None:
    """Serve on `listening` until SIGINT or SIGTERM, or SIGHUP, for there is nobody to take over; a second one ends what
    still runs at once. A worker also ends when its successor serves."""
    stop, retiring, lifeline = first_signal(*HANGUP), asyncio.Event(), os.environ.get(LIFELINE)
    if lifeline is not None:
        follow(int(lifeline), retire=retiring.set)
    from aiohttp.web import SockSite

    from aioapp.app import create_app, drain, runner_of
    from aioapp.cli.supervisor.retirement import retire
    app = (build or create_app)(settings, loopback=is_loopback(listening))
    runner = runner_of(app)
    await runner.setup()
    try:
        site = SockSite(runner, listening, backlog=BACKLOG)
        await site.start()
        # What was loaded by now stays: nothing of it need be looked at again for what could be freed.
        gc.collect()
        gc.freeze()
        # Ours are closed by whoever opens them; to note each of a call's seven for the loop's end took 3 % of it.
        sys.set_asyncgen_hooks(firstiter=None)
        if lifeline is None:
            greeting()
        else:
            write(int(lifeline), READY)
        await first_of(stop, retiring)
        if retiring.is_set():
            await retire(runner, site, stop=stop, longest=settings.total_timeout)
        await drain(app, settings.shutdown_timeout, delay=settings.drain_delay)
    finally:
        await runner.cleanup()


def prepared(settings: Settings) -> socket.socket:
    """The socket to serve on, once it is safe to. A worker's supervisor has seen to that. Raises `SettingError`."""
    listening = listen(settings)
    try:
        if LIFELINE not in os.environ:
            database, where = database_path(settings.database, os.environ), reachable_at(listening)
            asyncio.run(startup.check(settings, database, where=where))
            log.info("Workers: %d.", settings.workers)
            if settings.simulate:
                log.info("Claude is simulated: nothing is spent. What is used is kept apart from what real calls use.")
    except SettingError:
        listening.close()
        raise
    return listening


def greet(listening: socket.socket, *, form: str) -> None:
    """Say where it serves; on standard output, for that is what was asked for, unless all lines are to be JSON."""
    host, port = address_of(listening)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    line = f"aioapp {aioapp.__version__} serves {url} (try {url}/docs; Ctrl+C stops it)"
    if form == "json":
        log.info("%s", line)
    else:
        print(line, flush=True)


def refused(error: SettingError, *, form: str) -> int:
    if form == "json":
        logs.configure(Settings(log_format="json"))
        log.critical("%s", error)
    else:
        print(f"aioapp: {error}", file=sys.stderr)
    return 2


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


def first_signal(*more: signal.Signals) -> asyncio.Event:
    """Set by the first SIGINT, SIGTERM or `more`. The second one is handled as if none had waited: it ends us."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def begin() -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    heeded = [number for number in more if signal.getsignal(number) != signal.SIG_IGN]  # as it is under `nohup`
    for number in (*SIGNALS, *heeded):
        try:
            loop.add_signal_handler(number, begin)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(begin))
    return stop


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop where it is installed, else asyncio's own."""
    if find_spec("uvloop") is None:
        return None
    import uvloop
    return uvloop.new_event_loop


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us: every stream takes two, and a shell's usual limit is 1024."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
