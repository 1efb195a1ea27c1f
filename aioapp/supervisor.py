"""Several processes on one listening socket, and a new one for each that dies or whose sources have changed.

A worker is this program again, so that it loads whatever the files now hold. It inherits the socket as `--fd`, and, as
the variable `AIOAPP_LIFELINE` tells it, a pipe that closes when the supervisor ends, however that ends: no worker
outlives it. What workers count for `/metrics` they keep in one folder, so that each can tell the sums of all.
"""
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from aioapp.settings import LIFELINE, SettingError, Settings

TOO_SHORT = 2.0
"""Seconds: a worker that lives less long is not replaced at once, lest a broken one be started without end."""
LONGEST_PAUSE = 30.0
KILL_AFTER = 5.0
"""Seconds beyond the shutdown timeout after which a worker that does not end is killed."""
COUNTS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus-client knows in which folder several processes count together."""

log = logging.getLogger("aioapp.supervisor")


@dataclass(slots=True, kw_only=True)
class Workers:
    """Processes that run `command` with the files `fds` and the variables `env` (ours, if None).

    `patience` is how long one gets to end, in seconds; `counts` is the folder in which they count, if they share one.
    """

    command: Sequence[str]
    fds: Sequence[int] = ()
    env: Mapping[str, str] | None = None
    patience: float
    counts: Path | None = None
    _running: set[asyncio.subprocess.Process] = field(default_factory=set)
    _renewed: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_one(self) -> None:
        """Keep one worker running until cancelled, which ends it in order."""
        pause, loop = 0.0, asyncio.get_running_loop()
        while True:
            began, renewed = loop.time(), self._renewed
            end = await self._run()
            lived = loop.time() - began
            pause = 0.0 if lived > TOO_SHORT or renewed.is_set() else min(LONGEST_PAUSE, 2 * pause or 0.5)
            log.log(logging.INFO if renewed.is_set() else logging.WARNING,
                    "A worker %s; another starts%s.", end, f" in {pause:g} s" if pause else "")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await renewed.wait()

    def renew(self) -> None:
        """Have every worker end in order, and a new one take its place."""
        self._renewed.set()
        self._renewed = asyncio.Event()
        for process in self._running:
            terminate(process)

    async def _run(self) -> str:
        """Run one worker. Returns how it ended."""
        try:
            if self.counts is not None:
                self.counts.mkdir(mode=0o700, parents=True, exist_ok=True)  # whoever tidies up may have removed it
            # A session of its own, so that Ctrl+C in a terminal reaches us alone, and each worker is told once.
            process = await asyncio.create_subprocess_exec(
                *self.command, pass_fds=self.fds, env=self.env, start_new_session=True)
        except OSError as error:
            return f"could not be started ({error})"
        self._running.add(process)
        try:
            return f"ended with status {await process.wait()}"
        except asyncio.CancelledError:
            await self._end(process)
            raise
        finally:
            self._running.discard(process)
            self._forget(process.pid)

    def _forget(self, pid: int) -> None:
        if self.counts is not None:
            from aioapp.metrics import forget  # only now: we start in a moment, and take little memory
            try:
                forget(pid, self.counts)
            except OSError as error:
                log.warning("/metrics goes on telling what worker %d ran when it ended: %s.", pid, error)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        terminate(process)
        try:
            async with asyncio.timeout(self.patience):
                await process.wait()
        except TimeoutError:
            log.warning("Worker %d did not end in time and is killed.", process.pid)
            process.kill()
            await process.wait()


def terminate(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself a moment ago
        process.terminate()


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
    with lifeline() as tie, counting(settings, environ) as counts:
        own = ["--workers", "1", "--no-reload", "--fd", str(listening.fileno())]
        workers = Workers(
            command=[sys.executable, *program, *own], fds=(listening.fileno(), tie),
            env={**environ, LIFELINE: str(tie)} | ({COUNTS: str(counts)} if counts else {}), counts=counts,
            patience=settings.shutdown_timeout + KILL_AFTER)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(workers.keep_one()) for _ in range(settings.workers)]
            tasks.append(group.create_task(announce(address, answering)))
            if settings.reload:
                tasks.append(group.create_task(renew_on_change(workers)))
            await stopped.wait()
            for task in tasks:
                task.cancel()


@contextmanager
def lifeline() -> Iterator[int]:
    """The reading end of a pipe whose writing end this process alone holds."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


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
    async for _ in awatch(Path(__file__).parent, Path.cwd(), watch_filter=PythonFilter()):
        log.info("Sources have changed.")
        workers.renew()
