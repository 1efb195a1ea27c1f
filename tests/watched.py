"""A server that tells how long its event loop was held: `python -m tests.watched FILE` writes it into FILE."""
import asyncio
import mmap
import os
import selectors
import sys
import time
from pathlib import Path

from aiohttp import web

from aioapp.app import create_app, runner_of
from aioapp.settings import from_environ
from aioapp.telemetry import logs


class Held:
    """Seconds that a loop computed at most between two looks at its sockets, in a file that two processes share."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._seconds = memoryview(mmap.mmap(file.fileno(), 8)).cast("d")

    @property
    def most(self) -> float:
        return self._seconds[0]

    @most.setter
    def most(self, seconds: float) -> None:
        self._seconds[0] = seconds


class Watching(selectors.DefaultSelector):
    """What a loop asks for sockets that are ready, each time that it has run all that was to be run."""

    def __init__(self, held: Held) -> None:
        super().__init__()
        self._held = held
        self._began = time.thread_time()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._held.most = max(self._held.most, time.thread_time() - self._began)
        ready = super().select(timeout)
        self._began = time.thread_time()
        return ready


async def serve() -> None:
    settings = from_environ(os.environ)
    logs.configure(settings)
    runner = runner_of(create_app(settings))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("serves http://{}:{}".format(*runner.addresses[0]), flush=True)
    await asyncio.Event().wait()


def main(path: Path) -> None:
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Watching(Held(path)))) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
