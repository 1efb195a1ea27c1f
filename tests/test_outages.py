"""What a server does whose database goes missing, breaks, fills up or is held by somebody else, and what it says."""
import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from aioapp.errors import NotFound, StoreUnavailable
from aioapp.simulator.server import create_simulator
from aioapp.store.embedded.database import Database, connect
from tests.keyed import checkpointed, database, garbled, make_key, shown
from tests.processes import PATIENCE, ROOT, Server, environment, serving, upstream_at
from tests.test_cli_serve import refused

ASK = {"prompt": "Hi"}
SIMULATED = ("--simulate", "--simulate-pace", "0", "--cors-origin", "https://app.example")
OPEN = ("/", "/health/live", "/docs", "/redoc", "/openapi.json")
KEYED = ("/api/usage", "/admin/keys", "/admin/usage?by=key", "/admin/requests", "/admin")
UNUSABLE = "The server's database cannot be used"
NO_DATABASE = b"no database, is it? " * 1000


@dataclass
class Caller:
    """Asks in every form, and remembers what was answered: all of that must be in the accounts."""

    http: aiohttp.ClientSession
    server: Server
    key: str
    socket: "aiohttp.ClientWebSocketResponse[bool]"
    answered: list[str] = field(default_factory=list)

    async def rest(self) -> int:
        async with self.http.post(f"{self.server.url}/api/generate", json=ASK, headers=shown(self.key)) as response:
            return self._seen(response, await response.json())

    async def sse(self) -> int:
        async with self.http.post(f"{self.server.url}/api/stream", json=ASK, headers=shown(self.key)) as response:
            text = await response.text()
            assert response.status != 200 or text.endswith("data: [DONE]\n\n")
            return self._seen(response, {} if response.status == 200 else await response.json())

    async def frame(self) -> int:
        await self.socket.send_json(ASK)
        answer = await self.socket.receive_json()
        if answer["success"]:
            self.answered.append(answer["request_id"])
            return 200
        assert answer["error"] == UNUSABLE
        return 503

    async def everything(self) -> set[int]:
        return {await self.rest(), await self.sse(), await self.frame()}

    async def status(self, path: str, **headers: str) -> int:
        async with self.http.get(self.server.url + path, headers=headers) as response:
            return response.status

    async def works(self) -> None:
        """Wait until everything is answered, which it must be in the end without a restart."""
        async with asyncio.timeout(PATIENCE):
            while await self.status("/health") != 200 or await self.everything() != {200}:
                await asyncio.sleep(0.05)

    async def closes(self) -> None:
        """Wait until nobody is served any more. Until then all is well: what is known may be used for a moment."""
        async with asyncio.timeout(PATIENCE):
            while await self.everything() != {503} or await self.status("/health") != 503:
                await asyncio.sleep(0.05)

    def _seen(self, response: aiohttp.ClientResponse, answer: dict[str, Any]) -> int:
        if response.status == 200:
            self.answered.append(response.headers["X-Request-ID"])
        else:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 0
            assert answer.keys() >= {"success", "error", "timestamp", "request_id"} and answer["error"] == UNUSABLE
        return response.status


@asynccontextmanager
async def calling(*flags: str) -> AsyncIterator[Caller]:
    """A server with keys and who holds one of them, an administrator, with a socket open."""
    key = make_key(admin=True)
    async with (asyncio.timeout(6 * PATIENCE), TestServer(create_simulator(pace=0)) as claude,
                serving(*SIMULATED[3:], *flags, env=upstream_at(str(claude.make_url("")))) as server,
                aiohttp.ClientSession() as http):
        async with http.ws_connect(f"{server.url}/ws/generate", headers=shown(key)) as socket:
            yield Caller(http, server, key, socket)


Harm = Callable[[Caller], AbstractAsyncContextManager[str]]
"""Does it and undoes it; gives the reason that the log must name."""


@asynccontextmanager
async def missing(caller: Caller) -> AsyncIterator[str]:
    aside = database().with_name("aside")
    database().rename(aside)
    yield "No such file or directory"
    aside.rename(database())


@asynccontextmanager
async def corrupt(caller: Caller) -> AsyncIterator[str]:
    async with missing(caller):
        await caller.closes()
        database().write_bytes(NO_DATABASE)
        yield "file is not a database"


@asynccontextmanager
async def being_written(caller: Caller) -> AsyncIterator[str]:
    with closing(sqlite3.connect(database(), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield "database is locked"
        other.execute("ROLLBACK")


@asynccontextmanager
async def locked(caller: Caller) -> AsyncIterator[str]:
    """For reading too; which takes that nobody has it open, so it is put back locked."""
    async with missing(caller):
        await caller.closes()
        with closing(sqlite3.connect(database().with_name("aside"), isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            os.link(database().with_name("aside"), database())
            yield "database is locked"
            other.execute("ROLLBACK")


@asynccontextmanager
async def read_only(caller: Caller) -> AsyncIterator[str]:
    """Whoever has it open may go on writing, so it is put back so. Root may write what `chmod` forbids."""
    async with missing(caller):
        await caller.closes()
        aside = database().with_name("aside")
        shutil.copy(aside, database())
        protect(database())
        try:
            await until_status(caller, "/admin", 200)  # the keys can be read again
            yield "attempt to write a readonly database"
        finally:
            unprotect(database())


def protect(path: Path) -> None:
    path.chmod(0o400)
    if os.access(path, os.W_OK) and subprocess.run(["chattr", "+i", str(path)], capture_output=True).returncode:
        pytest.skip("nothing is read-only to this user here")


def unprotect(path: Path) -> None:
    if os.geteuid() == 0:
        subprocess.run(["chattr", "-i", str(path)], check=True)
    path.chmod(0o600)


@asynccontextmanager
async def as_long_as_it_may_be(caller: Caller) -> AsyncIterator[str]:
    """No file of the server's may be written any further: what a quota does."""
    soft, hard = resource.prlimit(caller.server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(caller.server.pid, resource.RLIMIT_FSIZE, (0, hard))
    yield "disk I/O error"
    resource.prlimit(caller.server.pid, resource.RLIMIT_FSIZE, (soft, hard))


@asynccontextmanager
async def full(caller: Caller) -> AsyncIterator[str]:
    """To its last byte, also when the database gives some back."""
    filler = database().with_name("filler")
    filling = asyncio.create_task(fill(filler))
    yield "database or disk is full"
    filling.cancel()
    await asyncio.wait({filling})
    filler.unlink()


async def fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        while True:
            with suppress(OSError):
                while file.write(b"x" * 4096):
                    pass
            await asyncio.sleep(0.01)


@pytest.fixture
def small_disk(state: Path) -> Iterator[None]:
    """A file system of its own for what the server keeps."""
    folder = state / "aioapp"
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


WHOLE: list[Harm] = [missing, corrupt, locked]
"""Nothing can be known then, not even who may come in."""
WRITING: list[Harm] = [being_written, read_only, as_long_as_it_may_be]


@pytest.mark.parametrize("harm", WHOLE + WRITING, ids=lambda harm: harm.__name__)
async def test_the_door_closes_with_503_opens_again_by_itself_and_every_answer_is_accounted_for(harm: Harm) -> None:
    await goes_through(harm)


async def test_so_it_does_when_the_disk_is_full(small_disk: None) -> None:
    await goes_through(full)


async def goes_through(harm: Harm) -> None:
    async with calling() as caller:
        assert await caller.everything() == {200}
        async with harm(caller) as reason:
            await caller.closes()
            await is_closed(caller, known=harm not in WHOLE)
            await caller.server.says(f"The database {database()} cannot be used: {reason}")
        await caller.works()
        assert await caller.server.end() == 0
    tells_once(caller.server, reason)
    accounted(caller.answered)


async def is_closed(caller: Caller, *, known: bool) -> None:
    """`known` says that what the server holds in memory may be used: who may come in, that is."""
    if not known:
        await until_status(caller, "/admin", 503)  # for which nothing is asked but the keys
    for path in KEYED:
        assert await caller.status(path, **shown(caller.key)) in ({503, 200} if known else {503}), path
    for headers in ({}, shown("aio_wrong")):
        assert await caller.status("/api/usage", **headers) in ({503, 401} if known else {503})
        async with caller.http.post(f"{caller.server.url}/api/generate", json=ASK, headers=headers) as response:
            assert response.status in ({503, 401} if known else {503})
    for path in OPEN:
        assert await caller.status(path) == 200, path
    async with caller.http.get(f"{caller.server.url}/health") as response:
        assert (response.status, (await response.json())["status"]) == (503, "unhealthy")


async def until_status(caller: Caller, path: str, status: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (found := await caller.status(path, **shown(caller.key))) != status:
            assert found in (200, 503)
            await asyncio.sleep(0.02)


def tells_once(server: Server, reason: str) -> None:
    """Each thing that is wrong is told once, and nothing else but that it is over."""
    told = [line for line in server.err.splitlines() if " aioapp.store: The database /" in line]
    assert len([line for line in told if line.endswith(f"{database()} cannot be used: {reason}")]) == 1
    assert len(told) == len({line.partition("cannot be used")[2] for line in told}) <= 2, told
    assert "The database can be used again" in server.err
    assert "Traceback" not in server.err and "lost" not in server.err


def accounted(answered: Sequence[str]) -> None:
    """Each answer is there, once, and the sums are those of the single ones."""
    with closing(sqlite3.connect(database())) as connection:
        rows = [id for [id] in connection.execute("SELECT request_id FROM requests WHERE outcome = 'completed'")]
        [[count, failed]] = connection.execute("SELECT sum(requests), sum(failed) FROM usage").fetchall()
    assert sorted(rows) == sorted(answered)
    assert count - failed == len(rows)


async def test_a_database_that_is_overwritten_under_the_server_opens_no_door() -> None:
    """Whoever has it open may not notice for a while, since it reads what it knows already."""
    async with calling() as caller:
        await caller.works()
        with database().open("r+b") as file:
            before = file.read()
            file.seek(0)
            file.write(NO_DATABASE[:len(before)])
        async with asyncio.timeout(PATIENCE):
            for _ in range(30):
                assert await caller.status("/api/usage") in (401, 503)
                assert await caller.status("/api/usage", **shown("aio_wrong")) in (401, 503)
                assert await caller.status("/api/usage", **shown(caller.key)) in (200, 503)
                assert await caller.rest() in (200, 503)
                await asyncio.sleep(0.05)
    assert "Traceback" not in caller.server.err


async def test_one_byte_that_is_wrong_closes_the_door_until_the_good_file_is_back(http: aiohttp.ClientSession) -> None:
    """Another key was made meanwhile, so that what is known already will not do."""
    key = make_key()
    first = checkpointed(database()).read_bytes()
    make_key("more")
    bad, good = garbled(database()), database().read_bytes()
    write(database(), first)
    async with asyncio.timeout(3 * PATIENCE), serving(*SIMULATED) as server:
        assert await status_of(http, server, **shown(key)) == 200
        for data, status in ((bad, 503), (good, 200)):
            write(database().with_name("next"), data).replace(database())
            while await status_of(http, server, **shown(key)) != status:
                await asyncio.sleep(0.02)
        assert await server.end() == 0
    assert server.err.count("what it holds cannot be: UnicodeDecodeError") == 1
    assert "Traceback" not in server.err


async def test_what_another_process_is_writing_can_be_read_all_the_while() -> None:
    async with calling() as caller:
        assert await caller.everything() == {200}
        async with being_written(caller):
            await caller.closes()
            for _ in range(30):  # while more than one write is tried again
                assert await caller.status("/auth-status", **shown(caller.key)) == 200
                assert await caller.everything() == {503}
                await asyncio.sleep(0.1)
            assert await caller.status("/api/usage", **shown(caller.key)) == 200
        await caller.works()
        assert await caller.server.end() == 0
    tells_once(caller.server, "database is locked")
    accounted(caller.answered)


async def test_it_can_also_be_opened_meanwhile(tmp_path: Path) -> None:
    connect(tmp_path / "db", create=True).close()
    store = Database(tmp_path / "db", create=False)
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await store.read(lambda held: held.execute("SELECT count(*) FROM keys").fetchone()) == (0,)
        with pytest.raises(StoreUnavailable):
            await store.write(lambda held: held.execute("DELETE FROM keys"))
        assert await store.read(lambda held: held.in_transaction)
        other.execute("ROLLBACK")
    await store.write(lambda held: held.execute("DELETE FROM keys"))
    await store.close()


@pytest.mark.parametrize("error", [NotFound("none"), ValueError("an argument"), UnicodeEncodeError("x", "", 0, 1, "x")])
async def test_what_work_itself_refuses_is_no_failure_of_the_database(tmp_path: Path, error: Exception) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        raise error

    store = Database(tmp_path / "db", create=True)
    for ask in (store.read, store.write):
        with pytest.raises(type(error)):
            await ask(refuse)
    await store.close()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def damaged(path: Path) -> Path:
    """Its first page is good; none of the others is."""
    with closing(connect(path, create=True)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    return write(path, data[:4096] + NO_DATABASE * (len(data) // len(NO_DATABASE) + 1))


def newer(path: Path) -> Path:
    with closing(connect(path, create=True)) as connection:
        connection.execute("PRAGMA user_version = 999")
    return path


def nonsense(path: Path) -> Path:
    """A key that cannot be."""
    make_key()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE keys SET expires_at = 'soon'")
    return path


def no_text(path: Path) -> Path:
    """One byte is wrong, and SQLite does not see it."""
    make_key()
    return write(path, garbled(path))


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "corrupt": (lambda path: write(path, NO_DATABASE), "file is not a database"),
    "damaged": (damaged, "malformed"),
    "newer": (newer, "it was made by a newer aioapp"),
    "garbled": (no_text, "what it holds cannot be: UnicodeDecodeError: 'utf-8' codec"),
    "nonsense": (nonsense, "the key 'web' in it cannot be"),
    "a folder": (lambda path: path.parent, "Is a directory"),
    "a folder that cannot be made": (lambda path: Path("/dev/null/aioapp/aioapp.db"), "Not a directory"),
    "a folder that is a file": (lambda path: write(path.with_name("file"), b"") / "aioapp.db", "File exists"),
}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("case", BROKEN)
async def test_a_database_that_cannot_be_used_at_the_start_is_one_line_and_status_2(case: str, workers: str) -> None:
    spoil, reason = BROKEN[case]
    database().parent.mkdir()
    path = spoil(database())
    server = await refused(str(path), *SIMULATED, "--workers", workers, "--database", str(path))
    assert "--database" in server.err and reason in server.err


async def test_no_server_begins_on_an_address_that_others_reach_without_keys() -> None:
    server = await refused("0.0.0.0", "--simulate", "--host", "0.0.0.0")
    assert "--allow-anonymous" in server.err and "aioapp keys create" in server.err
    await refused("--allow-anonymous", "--simulate", "--host", "0.0.0.0", "--workers", "2")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_one_does_with_a_key_or_when_it_is_told_so_by_name(http: aiohttp.ClientSession, workers: str) -> None:
    own = ("--simulate", "--simulate-pace", "0", "--host", "0.0.0.0", "--workers", workers)
    async with serving(*own, "--allow-anonymous") as server:
        async with http.post(f"{server.url}/api/generate", json=ASK) as response:
            assert response.status == 200
    key = make_key()
    async with serving(*own) as server:
        async with http.post(f"{server.url}/api/generate", json=ASK) as response:
            assert response.status == 401
        async with http.post(f"{server.url}/api/generate", json=ASK, headers=shown(key)) as response:
            assert response.status == 200


WARNING = "any web page that you open can use this server"


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_pages_of_any_origin_without_keys_are_one_warning_at_the_start(
        http: aiohttp.ClientSession, workers: str) -> None:
    async with serving("--workers", workers, env={"ANTHROPIC_API_KEY": "k"}) as server:
        async with http.get(f"{server.url}/health") as response:
            assert response.status == 200
        assert await server.end() == 0
    assert server.err.count(WARNING) == 1
    assert "--cors-origin" in server.err and "aioapp keys create" in server.err


async def test_nobodys_credit_is_warned_of_where_claude_is_simulated() -> None:
    server = await refused("0.0.0.0", "--simulate", "--host", "0.0.0.0")
    assert "everybody who reaches it could use it." in server.err
    async with serving("--simulate", "--host", "0.0.0.0", "--allow-anonymous") as server:
        assert await server.end() == 0
    assert "WARNING" not in server.err and "credit" not in server.err
    assert server.err.count("Claude is simulated: nothing is spent.") == 1


@pytest.mark.parametrize("with_key", [True, False])
async def test_named_origins_or_a_key_need_no_warning(http: aiohttp.ClientSession, with_key: bool) -> None:
    if with_key:
        make_key()
    flags = () if with_key else ("--cors-origin", "https://app.example")
    async with serving(*flags, env={"ANTHROPIC_API_KEY": "k"}) as server:
        async with http.get(f"{server.url}/health") as response:
            assert response.status == 200
        assert await server.end() == 0
    assert WARNING not in server.err


async def test_a_key_that_is_made_beside_a_running_server_closes_it_to_all_others_within_a_second(
        http: aiohttp.ClientSession) -> None:
    async with serving(*SIMULATED) as server:
        async with http.get(f"{server.url}/auth-status") as response:
            assert response.status == 200
        made = await run("keys", "create", "web")
        began = asyncio.get_running_loop().time()
        key = made.strip()
        assert key.startswith("aio_") and key.isprintable()
        async with asyncio.timeout(PATIENCE):
            while await status_of(http, server) != 401:
                await asyncio.sleep(0.02)
        assert asyncio.get_running_loop().time() - began < 1.5
        assert await status_of(http, server, **shown(key)) == 200
        assert "web" in await run("keys", "list") and key not in await run("keys", "show", "web")
        await run("keys", "revoke", "web")
        async with asyncio.timeout(PATIENCE):
            while await status_of(http, server, **shown(key)) != 401:
                await asyncio.sleep(0.02)


async def status_of(http: aiohttp.ClientSession, server: Server, **headers: str) -> int:
    async with http.get(f"{server.url}/auth-status", headers=headers) as response:
        return response.status


async def run(*argv: str) -> str:
    """What `python -m aioapp` prints when it is asked so."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioapp", *argv, cwd=ROOT, env=environment({}),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode == 0, err
    return out.decode()


async def test_a_failure_of_one_kind_of_work_is_told_once_though_other_work_succeeds(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Database(tmp_path / "db", create=True)

    def good(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT * FROM keys").fetchall()

    def bad(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT * FROM later").fetchall()

    def told() -> list[str]:
        return [entry.getMessage() for entry in caplog.records]

    for _ in range(3):
        await store.read(good)
        with pytest.raises(StoreUnavailable):
            await store.read(bad)
    assert told() == [f"The database {tmp_path / 'db'} cannot be used: no such table: later"]
    await store.write(lambda connection: connection.execute("CREATE TABLE later (number)"))
    assert len(told()) == 1
    await store.read(bad)
    await store.read(good)
    assert told()[1:] == ["The database can be used again."]
    await store.write(lambda connection: connection.execute("DROP TABLE later"))
    with pytest.raises(StoreUnavailable):
        await store.read(bad)
    assert len(told()) == 3
    await store.close()


async def test_an_outage_that_all_work_meets_is_told_once_and_its_end_too(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Database(tmp_path / "db", create=True)

    def one(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT * FROM keys")

    def other(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT * FROM usage")

    await store.read(one)
    (tmp_path / "db").rename(tmp_path / "aside")
    for work in (one, other, one, other):
        with pytest.raises(StoreUnavailable):
            await store.read(work)
    (tmp_path / "aside").rename(tmp_path / "db")
    for work in (other, one, other):
        await store.read(work)
    await store.close()
    assert [entry.getMessage() for entry in caplog.records] == [
        f"The database {tmp_path / 'db'} cannot be used: No such file or directory", "The database can be used again."]
