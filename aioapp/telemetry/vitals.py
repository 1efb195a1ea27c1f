"""How the process itself is doing: its memory, files and processor, how late its event loop is, and what it needs.

Of several processes, what can be added up is added up; of what each needs, the worst is told.
"""
import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aioapp.telemetry.series import Adds, Observes

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge

EVERY = 0.25
"""Seconds from one look at how late the event loop is to the next."""
LOOKS = 20
"""Of those, from one look at the process to the next."""
LATE = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
"""The ends of the histogram's buckets, in seconds."""
MEMORY, FILES = Path("/proc/self/statm"), Path("/proc/self/fd")


class Vitals:
    """`late` takes how late the event loop was, in seconds, and `worked` the processor's seconds."""

    def __init__(self, registry: "CollectorRegistry", *, late: Observes, worked: Adds) -> None:
        self._late = late
        self._worked = worked
        self._processor = 0.0
        self._memory = gauge(
            registry, "process_resident_memory_bytes", text="Memory that the processes hold", mode="livesum")
        self._files = gauge(
            registry, "process_open_fds", text="Files and sockets that they have open", mode="livesum")
        self._credentials = gauge(
            registry, "credentials_usable", text="1 unless there are no credentials, or Claude refused them",
            mode="livemin")
        self._database = gauge(
            registry, "database_usable", text="1 while the database can be read and written", mode="livemin")
        # A process that was killed may have had our id, and left its figures to us.
        for one, value in ((self._memory, 0), (self._files, 0), (self._credentials, 1), (self._database, 1)):
            one.set(value)
        gauge(registry, "workers", text="Processes that serve", mode="livesum").set(1)

    async def run(self, *, credentials: Callable[[], bool], database: Callable[[], bool]) -> None:
        """Look for ever: `credentials` and `database` tell whether they can be used, as far as is known."""
        while True:
            self._credentials.set(credentials())
            self._database.set(database())
            await asyncio.to_thread(self.measure)  # of a process with many files, that takes a while
            for _ in range(LOOKS):
                began = time.perf_counter()  # uvloop's own clock has milliseconds
                await asyncio.sleep(EVERY)
                self._late.observe(max(0.0, time.perf_counter() - began - EVERY))

    def measure(self) -> None:
        """Look at the process. Where the system does not tell, its memory and files stay 0."""
        processor = time.process_time()
        self._worked.inc(processor - self._processor)
        self._processor = processor
        try:
            self._memory.set(int(MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            # Linux 6.2 tells their number as the folder's size.
            self._files.set(FILES.stat().st_size or len(os.listdir(FILES)))
        except (OSError, ValueError, IndexError, AttributeError):
            return


def gauge(registry: "CollectorRegistry", name: str, *, text: str, mode: str) -> "Gauge":
    from prometheus_client import Gauge

    return Gauge(name, text, namespace="aioapp", registry=registry, multiprocess_mode=mode)  # type: ignore[arg-type]
