"""The README and the guide as tests read them: fenced pieces, tables, and how their commands are run."""
import asyncio
import os
import re
import shlex
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "aioapp" / "pages" / "guide").glob("*.md"))
README = "\n\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *PAGES))
"""The README, and the guide's pages behind it."""
ADDRESS = "127.0.0.1:8000"
PATIENCE = 60.0
"""Seconds until a test gives up on a process: plenty, since the machine may be busy."""


@dataclass(frozen=True)
class Block:
    """A fenced piece of the README: its code, and the prose up to it and after it."""

    language: str
    code: str
    line: int
    before: str
    after: str

    def at(self, url: str) -> str:
        """The code with the address of a server that runs."""
        return self.code.replace(ADDRESS, url.removeprefix("http://"))


def fenced() -> Iterator[Block]:
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        before, after = README[:found.start()], README[found.end():]
        yield Block(found[1], found[2], before.count("\n") + 1, before, after)


def blocks(language: str, *, where: Callable[[Block], bool] = lambda block: True) -> list[Block]:
    found = list({block.code: block for block in reversed(list(fenced()))
                  if block.language == language and where(block)}.values())[::-1]
    assert found, f"The README has no such {language} block"
    return found


def line_of(block: Block) -> str:
    return f"line {block.line}"


def is_client(block: Block) -> bool:
    return "create_app" not in block.code and "run_app" not in block.code


def code_of(file: str) -> str:
    """The code of the block that the README tells to save as `file`."""
    [block] = blocks("python", where=lambda block: re.findall(r"Save as `(\S+)`", block.before[-800:])[-1:] == [file])
    return block.code


def status_of(block: Block) -> int:
    """The status that the README says right after a block."""
    said = re.match(r"\s*\*\*(\d{3})\*\*", block.after)
    assert said, f"No status after the block in line {block.line}"
    return int(said[1])


def curls(block: Block) -> list[list[str]]:
    return [shlex.split("curl " + line)[1:] for line in re.split(r"^curl ", block.code, flags=re.MULTILINE)[1:]]


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is called `heading`, without the backticks."""
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert found, f"No table begins with {heading}"
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()]


def environment(**more: str) -> dict[str, str]:
    """Ours without what would configure a server, this tree first, warnings being errors."""
    ours = {name: value for name, value in os.environ.items()
            if not name.startswith(("API_", "ANTHROPIC_", "CLAUDE_", "GUNICORN_", "PYTHON"))}
    return {**ours, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


async def output_of(*command: str | Path, keep: Sequence[int] = (), **more: str) -> str:
    """What a command prints, which ends well; it inherits the files `keep`."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=STDOUT, pass_fds=keep, env=environment(**more))
    try:
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert process.returncode == 0, said.decode()
    return said.decode()


@asynccontextmanager
async def running(*command: str | Path, **more: str) -> AsyncIterator[str]:
    """A server as a process of its own, as the URL that it prints; SIGTERM ends it in order."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, env=environment(**more))
    try:
        yield await announced(process)
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def announced(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(PATIENCE):
        async for line in process.stdout:
            said += line.decode()
            if found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", line.decode()):
                return found[0]
    raise AssertionError(f"The server ended before it served:\n{said}")


def own(file: Path, **more: str) -> Any:
    """The README's `file`, written and served by the command that the README gives, with the simulator."""
    file.write_text(code_of(file.name))
    return running(sys.executable, "-W", "error", file, API_SIMULATE="1", API_SIMULATE_PACE="0", API_PORT="0", **more)


def needed(program: str | None, name: str) -> str:
    """The path of a program that a test needs: CI must have it, elsewhere the test is skipped."""
    if program is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


async def aioapp(line: str) -> str:
    """What a line of the README prints on standard output."""
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/aioapp"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioapp", *arguments, stdout=PIPE, stderr=PIPE, env=environment())
    async with asyncio.timeout(PATIENCE):
        said, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return said.decode().strip()


async def curl(arguments: Sequence[str], into: Path) -> int:
    """The status of what curl gets; the body goes into a file."""
    program = needed(shutil.which("curl"), "curl")
    return int(await output_of(program, "-sS", "-o", into, "-w", "%{http_code}", *arguments))
