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
PAGE = 4096
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
        """Bytes that the server holds, where the system tells (Linux)."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE
        except (OSError, ValueError, IndexError):
            return None


@asynccontextmanager
async def started(*, keyless: bool) -> AsyncIterator[Started]:
    """A server of one process, as `python -m aioapp` serves. Raises `NotStarted`."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aioapp-bench-")))
        database = folder / "aioapp.db"
        upstream, _ = await stack.enter_async_context(running(
            "aioapp.simulator", "--port", "0", "--pace", "0", environ=os.environ))
        key = None if keyless else await made_key(database)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("API_", "ANTHROPIC_"))}
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
    """The module as a process that says its URL; gives that and its process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, env=environ, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE)
    drained: list[asyncio.Task[bytes]] = []
    try:
        assert process.stdout is not None and process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            said = (await process.stdout.readline()).decode()
        found = re.search(r"http://\S+", said)
        if found is None:
            raise NotStarted((await process.stderr.read()).decode(errors="replace").strip() or f"{module} ended")
        drained += [asyncio.create_task(stream.read()) for stream in (process.stdout, process.stderr)]
        yield found[0], process.pid
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.gather(*drained)
