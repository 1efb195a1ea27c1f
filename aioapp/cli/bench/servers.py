"""The server that is measured, with the simulator behind it: two processes, which end with the measurement."""
import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aioapp.callers import Budget, Limits
from aioapp.keys import Key
from aioapp.money import NANO
from aioapp.store.embedded import open_store

PATIENCE = 20.0
"""Seconds for a process to start, and to end."""
PIECE = 2**16
TERMS = Limits(requests_per_minute=10**9, tokens_per_minute=10**9, concurrency=10_000)
"""Of the key that is used: all limits are counted, and none is reached."""


class NotStarted(Exception):
    """A process that did not start, with what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """`upstream` is the simulator's URL, `key` the one to call with."""

    url: str
    upstream: str
    pid: int
    key: str | None

    def memory(self) -> int | None:
        """Bytes of the server's resident set, where the system tells (Linux: proc_pid_statm(5))."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return None


@asynccontextmanager
async def started(*, keyless: bool, pace: float = 0.0) -> AsyncIterator[Started]:
    """A server of one process, as `python -m aioapp` serves, and a simulator of that pace. Raises `NotStarted`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("API_", "ANTHROPIC_"))}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aioapp-bench-")))
        database = folder / "aioapp.db"
        upstream, _ = await stack.enter_async_context(running(
            "aioapp.simulator", "--port", "0", "--pace", f"{pace:g}", environ=environ))
        key = None if keyless else await made_key(database)
        url, pid = await stack.enter_async_context(running(
            "aioapp", "--host", "127.0.0.1", "--port", "0", "--no-access-log", "--database", str(database),
            environ={**environ, "ANTHROPIC_BASE_URL": upstream, "ANTHROPIC_API_KEY": "bench"}))
        yield Started(url=url, upstream=upstream, pid=pid, key=key)


async def made_key(database: Path) -> str:
    key = Key(name="bench", limits=TERMS, budget=Budget(nanodollars=10**6 * NANO, per="month"),
              created_at=datetime.now(UTC))
    async with open_store(database, create=True) as store:
        return await store.keys.create(key, by=None, at=datetime.now(UTC))


@asynccontextmanager
async def running(module: str, *arguments: str, environ: Mapping[str, str]) -> AsyncIterator[tuple[str, int]]:
    """The module as a process that says its URL; gives that and its process id. Raises `NotStarted`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, env=environ, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    said = asyncio.create_task(last_of(process.stderr))
    try:
        yield await announced(process.stdout, said, module=module), process.pid
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await said


async def announced(out: asyncio.StreamReader, said: "asyncio.Task[bytes]", *, module: str) -> str:
    """The URL in the process's first line. Raises `NotStarted` with what it `said` in the end instead."""
    try:
        async with asyncio.timeout(PATIENCE):
            line = (await out.readline()).decode(errors="replace")
            if found := re.search(r"http://\S+", line):
                return found[0]
            raise NotStarted((await said).decode(errors="replace").strip() or f"{module} ended")
    except TimeoutError:
        raise NotStarted(f"{module} did not start in {PATIENCE:g} s") from None


async def last_of(err: asyncio.StreamReader) -> bytes:
    """The last of what a process says. A pipe that nobody reads would stop it."""
    said = b""
    while data := await err.read(PIECE):
        said = (said + data)[-PIECE:]
    return said
