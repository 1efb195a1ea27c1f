"""Several processes on one listening socket: a new one for each that dies, hangs, is replaced or has changed sources.

A worker is this program again, so that it loads whatever the files now hold. It inherits the socket as `--fd`, and, as
the variable `AIOAPP_LIFELINE` tells it, what ties it to its supervisor. What workers count for `/metrics` they keep in
one folder, so that each can tell the sums of all.
"""
import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from aioapp.cli.supervisor.replacement import keep, on_hangup
from aioapp.cli.supervisor.workers import Workers
from aioapp.settings import SettingError, Settings

KILL_AFTER = 5.0
"""Seconds beyond those that a worker gets to end after which it is killed."""
COUNTS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus-client knows in which folder several processes count together."""

log = logging.getLogger("aioapp.supervisor")


def check(settings: Settings) -> None:
    """Raises `SettingError` where what is set cannot be had here."""
    if settings.reload and find_spec("watchfiles") is None:
        raise SettingError("--reload: needs the package watchfiles (pip install watchfiles)")
    if settings.supervised and sys.platform == "win32":
        raise SettingError("--workers and --reload: need a system that can hand sockets to processes")


async def supervise(
        settings: Settings, listening: socket.socket, *, program: Sequence[str], environ: Mapping[str, str],
        stop: Callable[[], asyncio.Event], address: tuple[str, int], answering: Callable[[], None],
) -> None:
    """Keep workers that run `program`, Python's arguments, until the event is set that `stop` gives.

    `environ` is what they find in their environment; `answering` is called once one of them answers.
    """
    stopped = stop()
    with counting(settings, environ) as counts:
        own = ["--workers", "1", "--no-reload", "--fd", str(listening.fileno()), "--drain-delay", f"{delay(settings)}"]
        workers = Workers(
            command=[sys.executable, *program, *own], fds=[listening.fileno()],
            env={**environ} | ({COUNTS: str(counts)} if counts else {}), counts=counts,
            timeout=settings.worker_timeout, patience=patience(settings))
        asked = asyncio.Event()
        on_hangup(asked.set, stop=stopped.set)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(keep(workers, settings.workers, asked=asked)),
                     group.create_task(announce(address, answering))]
            if settings.reload:
                tasks.append(group.create_task(renew_on_change(workers)))
            await stopped.wait()
            for task in tasks:
                task.cancel()


def delay(settings: Settings) -> float:
    """For how long a worker goes on when it is to end, in seconds: whoever changes a source waits for its successor."""
    return 0.0 if settings.reload else settings.drain_delay


def patience(settings: Settings) -> float:
    """How long a worker gets to end, in seconds."""
    return delay(settings) + settings.shutdown_timeout + KILL_AFTER


@contextmanager
def counting(settings: Settings, environ: Mapping[str, str]) -> Iterator[Path | None]:
    """The folder in which the workers count together: the one that is set, else one of our own where there are several.

    None where there is one worker, or no folder to be had. To serve is worth more than to count.
    """
    if environ.get(COUNTS) or settings.workers == 1:
        yield Path(environ[COUNTS]) if environ.get(COUNTS) else None
        return
    try:
        folder = TemporaryDirectory(prefix="aioapp-counts-", ignore_cleanup_errors=True)
    except OSError as error:
        log.warning("/metrics tells what one worker has counted, any of them: %s.", error)
        yield None
        return
    with folder as name:
        yield Path(name)


async def announce(address: tuple[str, int], answering: Callable[[], None]) -> None:
    """Ask until a worker answers. The request waits in the socket's queue for one; it fails if that one dies on it."""
    while not await answers(address):
        await asyncio.sleep(0.1)
    answering()


async def answers(address: tuple[str, int]) -> bool:
    try:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in await reader.readline()
        finally:
            writer.close()
    except OSError:
        return False


async def renew_on_change(workers: Workers) -> None:
    from watchfiles import PythonFilter, awatch
    async for _ in awatch(Path(__file__).parents[2], Path.cwd(), watch_filter=PythonFilter()):
        log.info("Sources have changed.")
        workers.renew()
