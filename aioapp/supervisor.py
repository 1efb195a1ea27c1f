"""Several processes on one listening socket, and a new one for each that dies or whose sources have changed.

A worker is this program again, `--fd` naming the socket that it inherits, so that it loads whatever the files now hold.
"""
import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from aioapp.settings import SettingError, Settings

TOO_SHORT = 2.0
"""Seconds: a worker that lives less long is not replaced at once, lest a broken one be started without end."""
LONGEST_PAUSE = 30.0
KILL_AFTER = 5.0
"""Seconds beyond the shutdown timeout after which a worker that does not end is killed."""

log = logging.getLogger("aioapp.supervisor")


@dataclass(slots=True, kw_only=True)
class Workers:
    """The processes that run `command` with the socket `fd`. `patience` is how long one gets to end, in seconds."""

    command: Sequence[str]
    fd: int
    patience: float
    _running: set[asyncio.subprocess.Process] = field(default_factory=set)
    _renewed: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_one(self) -> None:
        """Keep one worker running until cancelled, which ends it in order."""
        pause, loop = 0.0, asyncio.get_running_loop()
        while True:
            began = loop.time()
            status = await self._run()
            pause = 0.0 if loop.time() - began > TOO_SHORT else min(LONGEST_PAUSE, 2 * pause or 0.5)
            log.log(logging.WARNING if status else logging.INFO,
                    "A worker ended with status %d; another starts%s.", status, f" in {pause:g} s" if pause else "")
            self._renewed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._renewed.wait()

    def renew(self) -> None:
        """Have every worker end in order, and a new one take its place."""
        self._renewed.set()
        for process in self._running:
            process.terminate()

    async def _run(self) -> int:
        # A group of its own, so that Ctrl+C in a terminal reaches us alone, and each worker is told once.
        process = await asyncio.create_subprocess_exec(*self.command, pass_fds=(self.fd,), process_group=0)
        self._running.add(process)
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await self._end(process)
            raise
        finally:
            self._running.discard(process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        process.terminate()
        try:
            async with asyncio.timeout(self.patience):
                await process.wait()
        except TimeoutError:
            log.warning("Worker %d did not end in time and is killed.", process.pid)
            process.kill()
            await process.wait()


def check(settings: Settings) -> None:
    """Raises `SettingError` where what is set cannot be had here."""
    if settings.reload and find_spec("watchfiles") is None:
        raise SettingError("--reload: needs the package watchfiles (pip install 'aioapp[reload]')")
    if sys.platform == "win32":
        raise SettingError("--workers and --reload: need a system that can hand sockets to processes")


async def supervise(
        settings: Settings, listening: socket.socket, arguments: Sequence[str], *,
        stopped: Callable[[], Awaitable[None]], answering: Callable[[], None],
) -> None:
    """Keep the workers until `stopped` returns; call `answering` once the first of them answers."""
    own = ["--workers", "1", "--no-reload", "--fd", str(listening.fileno())]
    workers = Workers(
        command=[sys.executable, "-m", "aioapp", *arguments, *own],
        fd=listening.fileno(), patience=settings.shutdown_timeout + KILL_AFTER)
    tasks = [asyncio.create_task(workers.keep_one()) for _ in range(settings.workers)]
    tasks.append(asyncio.create_task(announce(listening, answering)))
    if settings.reload:
        tasks.append(asyncio.create_task(renew_on_change(workers)))
    try:
        await stopped()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def announce(listening: socket.socket, answering: Callable[[], None]) -> None:
    """Ask for `/health/live`: the request waits in the socket's queue until there is a worker to answer it."""
    host, port = listening.getsockname()[:2]
    reader, writer = await asyncio.open_connection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    if b" 200 " in await reader.readline():
        answering()
    writer.close()


async def renew_on_change(workers: Workers) -> None:
    from watchfiles import PythonFilter, awatch
    async for _ in awatch(Path(__file__).parent, Path.cwd(), watch_filter=PythonFilter()):
        log.info("Sources have changed.")
        workers.renew()
