"""Servers as their users start them: processes of their own, found by what they print, ended by their own handle."""
import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parent.parent
AIOAPP = (sys.executable, "-m", "aioapp", "--port", "0")
GUNICORN = (sys.executable, "-m", "gunicorn", "aioapp.app:create_runner", "-k", "aiohttp.GunicornWebWorker",
            "-b", "127.0.0.1:0", "--no-control-socket")
ADDRESS = r"(?:serves|Listening at:) (http://\S+)"
NOTHING: Mapping[str, str] = {}
KEY = "sk-canary-key"
PATIENCE = 10.0
"""Seconds until a test gives up on what it waits for. Plenty: the machine may be busy."""

T = TypeVar("T")


@dataclass
class Server:
    """A process that serves on `url`. `out` and `err` hold what it has printed so far."""

    process: asyncio.subprocess.Process
    url: str = ""
    out: str = ""
    err: str = ""
    told: float = 0.0

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal; from now on `took` runs."""
        self.told = asyncio.get_running_loop().time()
        self.process.send_signal(number)

    @property
    def took(self) -> float:
        """Seconds since the signal."""
        return asyncio.get_running_loop().time() - self.told

    async def ended(self) -> int:
        """Wait for the end. Gives the status."""
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.tell(number)
        return await self.ended()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until what it has printed matches `pattern`."""
        return await until(lambda: re.search(pattern, self.out) or re.search(pattern, self.err))


async def until(find: Callable[[], T | None]) -> T:
    """What `find` gives once that is something. Raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE):
        while not (found := find()):
            await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def started(
        *flags: str, command: Sequence[str] = AIOAPP, cwd: Path = ROOT, fds: Sequence[int] = (),
        env: Mapping[str, str] = NOTHING,
) -> AsyncIterator[Server]:
    """The process, not yet known to serve, in a session of its own; killed in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *command, *flags, cwd=cwd, env=environment(env), pass_fds=fds, start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    server = Server(process)
    readers = [asyncio.create_task(keep(server, name)) for name in ("out", "err")]
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        async with asyncio.timeout(PATIENCE):  # its children end with it, and only then these streams do
            await asyncio.gather(*readers)


@asynccontextmanager
async def serving(
        *flags: str, command: Sequence[str] = AIOAPP, cwd: Path = ROOT, fds: Sequence[int] = (),
        env: Mapping[str, str] = NOTHING,
) -> AsyncIterator[Server]:
    """The process, once it has said where it serves."""
    async with started(*flags, command=command, cwd=cwd, fds=fds, env=env) as server:
        server.url = (await server.says(ADDRESS))[1]
        yield server


async def keep(server: Server, name: str) -> None:
    stream = server.process.stdout if name == "out" else server.process.stderr
    assert stream is not None
    while data := await stream.read(65536):
        setattr(server, name, getattr(server, name) + data.decode())


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours without what would set up a server; with warnings shown, for tests that look at stderr."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("API_", "ANTHROPIC_", "CLAUDE_", "GUNICORN_"))}
    scratch = {"TMPDIR": kept["XDG_STATE_HOME"]}  # what a killed server leaves behind goes with the test's own folder
    return {**kept, **scratch, "PYTHONWARNINGS": "default", "HOME": "/nonexistent", **more}


def upstream_at(url: str) -> dict[str, str]:
    """The variables that point a server at a scripted upstream."""
    return {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": KEY}


def children_of(pid: int) -> set[int]:
    """The processes that `pid` has started and that still run."""
    stats = [stat.rpartition(")")[::2] for path in Path("/proc").glob("[0-9]*/stat") if (stat := text_of(path))]
    parents = {int(head.partition(" ")[0]): tail.split()[:2] for head, tail in stats}
    return {child for child, (state, parent) in parents.items() if int(parent) == pid and state != "Z"}


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended between our two looks
        return ""


def alive(pid: int) -> bool:
    stat = text_of(Path(f"/proc/{pid}/stat"))
    return bool(stat) and stat.rpartition(")")[2].split()[0] != "Z"
