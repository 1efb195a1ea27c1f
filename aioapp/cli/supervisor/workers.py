"""Processes that are kept running: a new one takes the place of each that ends, hangs or is to be renewed."""
import asyncio
import logging
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aioapp.cli.supervisor.lifeline import RETIRE, lifeline, silence, write
from aioapp.settings import LIFELINE

TOO_SHORT = 2.0
"""Seconds: a worker that lives less long is not replaced at once, lest a broken one be started without end."""
LONGEST_PAUSE = 30.0

log = logging.getLogger("aioapp.supervisor")


@dataclass(slots=True, kw_only=True)
class Slot:
    """The place of one worker at a time. `ready` is set once one has served in it.

    One that is on `trial` is given up, not replaced, if it ends before; `end` says how it did.
    """

    trial: bool = False
    retired: bool = False
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    end: str = ""
    lifeline: socket.socket | None = None

    @property
    def over(self) -> bool:
        return self.retired or (self.trial and not self.ready.is_set())

    def retire(self) -> None:
        """Have the worker take no more connections, and end when those it has are over. None takes its place here."""
        self.retired = True
        if self.lifeline is not None:
            write(self.lifeline, RETIRE)


@dataclass(slots=True, kw_only=True)
class Workers:
    """Processes that run `command` with the files `fds`, the variables `env` and a lifeline.

    In seconds: `timeout`, without a sign of life, after which one is killed, and `patience`, which one gets to end.
    `counts` is the folder in which they count, if they share one.
    """

    command: Sequence[str]
    fds: Sequence[int] = ()
    env: Mapping[str, str]
    timeout: float
    patience: float
    counts: Path | None = None
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _running: set[Process] = field(default_factory=set)
    _renewed: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_one(self, slot: Slot | None = None) -> None:
        """Keep one worker running until cancelled, which ends it in order, or until its slot is over."""
        pause, loop, slot = 0.0, asyncio.get_running_loop(), slot or Slot()
        while not slot.retired:
            began, renewed = loop.time(), self._renewed
            slot.end = end = await self._run(slot)
            if slot.over:
                return
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
            tell(process, signal.SIGTERM)

    async def _run(self, slot: Slot) -> str:
        """Run one worker. Returns how it ended."""
        with ExitStack() as stack:
            try:
                ours, theirs = stack.enter_context(lifeline())
                process = await self._start(theirs.fileno())
            except OSError as error:
                return f"could not be started ({error})"
            self._running.add(process)
            slot.lifeline = ours
            try:
                return f"ended with status {await self._end_of(process, slot=slot, lifeline=ours)}"
            finally:
                slot.lifeline = None
                self._running.discard(process)
                self._forget(process.pid)

    async def _start(self, lifeline: int) -> Process:
        if self.counts is not None:
            self.counts.mkdir(mode=0o700, parents=True, exist_ok=True)  # whoever tidies up may have removed it
        # A session of its own, so that Ctrl+C in a terminal reaches us alone, and each worker is told once.
        return await asyncio.create_subprocess_exec(
            *self.command, pass_fds=(*self.fds, lifeline), env={**self.env, LIFELINE: str(lifeline)},
            start_new_session=True)

    async def _end_of(self, process: Process, *, slot: Slot, lifeline: socket.socket) -> int:
        """Wait for the end of a worker, which is looked after until then. To be cancelled has it end in order."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look_after(process, slot=slot, lifeline=lifeline))
            try:
                return await process.wait()
            except asyncio.CancelledError:
                await self._end(process)
                raise
            finally:
                looking.cancel()

    async def _look_after(self, process: Process, *, slot: Slot, lifeline: socket.socket) -> None:
        await silence(lifeline, self.timeout, sleep=self.sleep, ready=slot.ready.set)
        log.warning("Worker %d has given no sign of life for %g s and is killed.", process.pid, self.timeout)
        tell(process, signal.SIGKILL)

    async def _end(self, process: Process) -> None:
        tell(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(self.patience):
                await process.wait()
        except TimeoutError:
            log.warning("Worker %d did not end in time and is killed.", process.pid)
            tell(process, signal.SIGKILL)
            await process.wait()

    def _forget(self, pid: int) -> None:
        if self.counts is not None:
            from aioapp.telemetry.metrics import forget  # only now: we start in a moment, and take little memory
            try:
                forget(pid, self.counts)
            except OSError as error:
                log.warning("/metrics goes on telling what worker %d ran when it ended: %s.", pid, error)


def tell(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself a moment ago
        process.send_signal(number)
