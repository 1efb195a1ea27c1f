"""Workers that are kept, and replaced one by one when a SIGHUP asks for it, without a connection that is dropped.

A new one serves beside the old ones before one of those retires: it takes no more connections, serves those that it has
to their end, and ends. What a new one reads when it starts is read anew, such as the file of settings.
"""
import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress

from aioapp.cli.supervisor.workers import Slot, Workers

START = 60.0
"""Seconds within which a new worker must serve."""

log = logging.getLogger("aioapp.supervisor")


async def keep(workers: Workers, count: int, *, asked: asyncio.Event) -> None:
    """Keep so many workers until cancelled, which ends them in order; they are replaced each time the event is set."""
    slots = [Slot() for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for slot in slots:
            group.create_task(workers.keep_one(slot))
        while await asked.wait():
            asked.clear()
            log.info("SIGHUP: %d workers are replaced, one after the other.", count)
            for place, old in enumerate(slots):
                new = Slot(trial=True)
                if not await serves(new, group.create_task(workers.keep_one(new))):
                    break
                slots[place] = new
                old.retire()
            else:
                log.info("All workers are replaced.")


async def serves(slot: Slot, kept: asyncio.Task[None]) -> bool:
    """Whether the slot's first worker comes to serve. If not, it is ended, and the log is told."""
    ready = asyncio.create_task(slot.ready.wait())
    try:
        await asyncio.wait([ready, kept], timeout=START, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ready.cancel()
    if slot.ready.is_set():
        return True
    why = slot.end if kept.done() else f"does not serve after {START:g} s"
    kept.cancel()
    log.error("The new worker %s: those before it go on, and no more of them are replaced.", why)
    return False


def on_hangup(replace: Callable[[], None], *, stop: Callable[[], None]) -> None:
    """Have each SIGHUP call `replace`; but the one that tells that our terminal is gone calls `stop`."""
    ignored, terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, has_terminal()

    def hang_up() -> None:
        gone = terminal and not ignored and not has_terminal()  # `nohup` ignores it so that we outlive the terminal
        (stop if gone else replace)()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)


def has_terminal() -> bool:
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
        return True
    return False
