"""The keys in memory: who is let in, who is not, and what happens when the database is not there."""
import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection
from statistics import median

import pytest

from aioapp.callers import NOBODY, Budget, Caller, Limits
from aioapp.errors import StoreUnavailable, Unauthorized
from aioapp.keys import Key, Keyring
from aioapp.keys.key import proves
from aioapp.keys.keyring import MOST_READ, UNKNOWN
from aioapp.store.embedded import keys as table
from aioapp.store.embedded.key_store import EmbeddedKeys
from aioapp.store.embedded.database import Database, connect, transacted
from tests.processes import until

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
ID = "0123456789abcdef"

STRANGE = [
    "", " ", "aio_", "web", "\n", "\0", f"aio_{ID}_", f"aio_{ID}_" + "a" * 42, f"aio_{ID}_" + "a" * 44,
    f"aio_{ID}_" + "a" * 43 + "\n", f"aio_{ID}_" + "a" * 42 + "\0", f"aio_{ID.upper()}_" + "a" * 43,
    f"aio_{'٣' * 16}_" + "a" * 43, f"aio_{ID}_" + "é" * 43, f"aio_{ID}_" + "\udcff" * 43, "\ud800" * 64,
    "' OR '1'='1' --", f"aio_{ID}_' UNION SELECT digest FROM secrets --", "a" * 2**20, "\U0001f511" * 2**18,
    f"aio_{ID}_" + "a" * 2**20, "Bearer " + f"aio_{ID}_" + "a" * 43]


@dataclass
class World:
    """A database, a keyring on it, and what that does.

    `at` is the time, `passed` the seconds since any, `proofs` what it was given to prove.
    """

    path: Path
    at: datetime = AT
    passed: float = 0.0
    proofs: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database = Database(self.path, create=True)
        self.keyring = Keyring(
            EmbeddedKeys(self.database), clock=lambda: self.at, monotonic=lambda: self.passed, proves=self.proves)

    def proves(self, given: str, digest: bytes) -> bool:
        self.proofs.append((given, digest))
        return proves(given, digest)

    async def create(self, name: str = "web", **terms: datetime | Limits | Budget | bool) -> str:
        key = Key(**{"name": name, "created_at": AT, **terms})  # type: ignore[arg-type]
        return await self.change(lambda c: table.create(c, key, at=self.at))

    async def rotate(self, grace: timedelta) -> str:
        return await self.change(lambda c: table.rotate(c, "web", at=self.at, grace=grace))

    async def revoke(self) -> None:
        await self.change(lambda c: str(table.revoke(c, "web", at=self.at)))

    async def change(self, work: Callable[[Connection], str]) -> str:
        result = await self.database.write(work)
        await self.keyring.refresh()
        return result

    def refusal(self, given: str) -> str | None:
        with pytest.raises(Unauthorized) as refused:
            self.keyring.find(given)
        return refused.value.detail

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        """The database's thread is held up: by a disk that does not answer, say. No look ends before this does."""
        held, over = threading.Event(), threading.Event()

        def hang(connection: Connection) -> None:
            held.set()
            over.wait()

        hung = asyncio.create_task(self.database.read(hang))
        try:
            await until(held.is_set)
            yield
        finally:
            over.set()
            await hung

    def assert_shut(self, given: str, client: Caller) -> None:
        """Nobody is let in, and nobody is told that there are no keys."""
        assert not self.keyring.ready
        with pytest.raises(StoreUnavailable):
            self.keyring.find(given)
        with pytest.raises(StoreUnavailable):
            self.keyring.holder(client.secret)
        with pytest.raises(StoreUnavailable):
            assert self.keyring.guarded is None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "aioapp.db")
    yield world
    await world.database.close()


def move(database: Path, there: Path) -> None:
    """With what SQLite keeps beside it, which would be taken for that of the next database in its place."""
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(f"{database}{end}", f"{there}{end}")


def wrong(shown: str) -> str:
    return shown[:-1] + ("B" if shown[-1] == "A" else "A")


async def test_whoever_shows_a_key_is_its_holder_with_all_that_it_may(world: World) -> None:
    limits, budget = Limits(concurrency=2), Budget(nanodollars=5, per="day")
    shown = await world.create(limits=limits, budget=budget, admin=True)
    assert world.keyring.find(shown) == Caller(
        name="web", known=True, secret=shown[4:20], limits=limits, budget=budget, models=("*",), admin=True)


@pytest.mark.parametrize("given", STRANGE, ids=lambda given: ascii(given[:40]))
async def test_whatever_a_stranger_sends_is_one_proof_of_little_text_and_one_answer(world: World, given: str) -> None:
    await world.create()
    assert world.refusal(given) == UNKNOWN
    [(proven, digest)] = world.proofs
    assert len(proven) <= MOST_READ and given.startswith(proven)
    assert len(digest) == 32


async def test_a_wrong_secret_with_a_public_id_that_is_known_is_a_strangers(world: World) -> None:
    shown = await world.create(expires_at=AT + DAY)
    for refused in (wrong(shown), shown[:-1], shown + "a", " " + shown, shown.upper(), f"aio_{ID}{shown[20:]}"):
        assert world.refusal(refused) == UNKNOWN
    await world.revoke()
    assert world.refusal(wrong(shown)) == UNKNOWN
    assert len(world.proofs) == 7


async def test_whatever_a_stranger_sends_takes_as_long(tmp_path: Path) -> None:
    world = World(tmp_path / "aioapp.db")
    shown = await world.create()
    keyring = Keyring(EmbeddedKeys(world.database))
    await keyring.refresh()
    kinds = {"wrong": wrong(shown), "unknown": f"aio_{ID}_" + "a" * 43, "empty": "", "truncated": shown[:-1],
             "huge": "a" * 2**20, "no text": "\udcff" * 64, "injected": "' OR '1'='1' --"}
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(25):
        for kind, given in kinds.items():
            took[kind].append(seconds(keyring, given))
    medians = {kind: median(times) for kind, times in took.items()}
    assert max(medians.values()) < 2.5 * min(medians.values()), medians
    await world.database.close()


def seconds(keyring: Keyring, given: str) -> float:
    began = time.perf_counter()
    for _ in range(100):
        try:
            keyring.find(given)
        except Unauthorized:
            continue
    return time.perf_counter() - began


async def test_a_key_expires_between_two_refreshes(world: World) -> None:
    shown = await world.create(expires_at=AT + DAY)
    client = world.keyring.find(shown)
    world.at += DAY - timedelta(microseconds=1)
    assert world.keyring.find(shown) == world.keyring.holder(client.secret) == client
    world.at += timedelta(microseconds=1)
    assert world.refusal(shown) == "This key has expired."
    with pytest.raises(Unauthorized, match="expired"):
        world.keyring.holder(client.secret)


async def test_an_old_secret_works_for_its_grace_and_the_new_one_at_once(world: World) -> None:
    old = await world.create()
    client = world.keyring.find(old)
    new = await world.rotate(DAY)
    assert world.keyring.find(old) == world.keyring.holder(client.secret) == client
    assert world.keyring.find(new).account == client.account
    world.at += DAY
    assert world.refusal(old) == "This secret was replaced by a new one."
    with pytest.raises(Unauthorized, match="replaced"):
        world.keyring.holder(client.secret)
    assert world.keyring.find(new).name == "web"


async def test_a_revoked_key_is_told_so_and_still_keeps_the_door_shut(world: World) -> None:
    shown = await world.create()
    client = world.keyring.find(shown)
    await world.revoke()
    assert world.refusal(shown) == "This key was revoked."
    with pytest.raises(Unauthorized, match="revoked"):
        world.keyring.holder(client.secret)
    assert world.keyring.guarded


async def test_an_open_connection_gets_the_limits_of_now(world: World) -> None:
    client = world.keyring.find(await world.create())
    await world.change(lambda c: str(c.execute("UPDATE keys SET concurrency = 3")))
    assert world.keyring.holder(client.secret).limits == Limits(concurrency=3)


async def test_a_caller_without_a_key_is_nobodys_holder(world: World) -> None:
    await world.create()
    with pytest.raises(Unauthorized):
        world.keyring.holder(NOBODY.secret)


async def test_without_keys_nobody_is_known_and_nothing_is_guarded(world: World) -> None:
    await world.keyring.refresh()
    assert not world.keyring.guarded
    assert world.refusal(f"aio_{ID}_" + "a" * 43) == UNKNOWN


async def test_a_key_without_secrets_guards_too(world: World) -> None:
    await world.create()
    await world.change(lambda c: str(c.execute("DELETE FROM secrets")))
    assert world.keyring.guarded


async def test_before_the_first_look_nothing_is_known(world: World) -> None:
    world.assert_shut(f"aio_{ID}_" + "a" * 43, NOBODY)


async def test_a_look_that_finds_no_change_leaves_all_as_it_was(world: World) -> None:
    shown = await world.create()
    client = world.keyring.find(shown)
    await world.keyring.refresh()
    assert world.keyring.find(shown) is client


async def test_a_database_that_is_gone_shuts_the_door_until_it_is_back(world: World) -> None:
    shown = await world.create()
    client = world.keyring.find(shown)
    away = world.path.rename(world.path.with_suffix(".away"))
    assert world.keyring.find(shown) is client
    for _ in range(2):
        await world.keyring.refresh()
        world.assert_shut(shown, client)
    away.rename(world.path)
    await world.keyring.refresh()
    assert world.keyring.find(shown) == client


async def test_a_database_that_has_lost_its_keys_is_no_open_door(
        world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown = await world.create()
    client = world.keyring.find(shown)
    move(world.path, tmp_path / "kept.db")
    empty = World(tmp_path / "empty.db")
    await empty.keyring.refresh()
    await empty.database.close()
    move(tmp_path / "empty.db", world.path)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await world.keyring.refresh()
            world.assert_shut(shown, client)
    assert [entry.name for entry in caplog.records] == ["aioapp.store"]
    move(tmp_path / "kept.db", world.path)
    await world.keyring.refresh()
    assert world.keyring.guarded and world.keyring.find(shown) == client


async def test_keys_that_are_taken_out_of_the_database_open_no_door(
        world: World, caplog: pytest.LogCaptureFixture) -> None:
    shown = await world.create()
    client = world.keyring.find(shown)
    with closing(sqlite3.connect(world.path)) as other:
        other.executescript("DELETE FROM secrets; DELETE FROM keys;")
    for _ in range(3):
        await world.keyring.refresh()
        world.assert_shut(shown, client)
    assert [entry.name for entry in caplog.records] == ["aioapp.keys"]


async def test_another_database_in_the_place_of_one_is_noticed(world: World, tmp_path: Path) -> None:
    shown = await world.create()
    other = World(tmp_path / "other.db")
    theirs = await other.create()
    await other.database.close()
    move(world.path, tmp_path / "kept.db")
    move(tmp_path / "other.db", world.path)
    await world.keyring.refresh()
    assert world.refusal(shown) == UNKNOWN
    assert world.keyring.find(theirs).name == "web"


@pytest.mark.parametrize("change", ["UPDATE keys SET created_at = ''", "DELETE FROM keys_version"])
async def test_broken_rows_let_nobody_in(world: World, change: str) -> None:
    shown = await world.create()
    client = world.keyring.find(shown)
    await world.change(lambda c: str(c.execute(change)))
    world.assert_shut(shown, client)


async def test_a_fault_of_ours_shuts_the_door_and_is_heard_of_once(
        world: World, caplog: pytest.LogCaptureFixture) -> None:
    shown = await world.create()
    client = world.keyring.find(shown)
    await world.database.close()
    for _ in range(3):
        await world.keyring.refresh()
        world.assert_shut(shown, client)
    [entry] = caplog.records
    assert "RuntimeError" in entry.getMessage() and entry.exc_info
    world.database = Database(world.path, create=False)


async def test_a_database_that_hangs_shuts_the_door_after_five_seconds_until_it_answers(world: World) -> None:
    shown = await world.create()
    client = world.keyring.find(shown)
    async with world.hanging():
        looking = asyncio.create_task(world.keyring.refresh())
        world.passed += 5.0
        await asyncio.sleep(0)
        assert world.keyring.ready and world.keyring.find(shown) == world.keyring.holder(client.secret) == client
        world.passed += 0.001
        world.assert_shut(shown, client)
        with closing(connect(world.path, create=False)) as other:
            transacted(other, lambda held: table.revoke(held, "web", at=AT))
    await looking
    assert world.keyring.ready and world.refusal(shown) == "This key was revoked."


async def test_a_look_is_as_old_as_its_beginning(world: World) -> None:
    shown = await world.create()
    async with world.hanging():
        looking = asyncio.create_task(world.keyring.refresh())
        await asyncio.sleep(0)
        world.passed += 6.0
    await looking
    world.assert_shut(shown, NOBODY)
    await world.keyring.refresh()
    assert world.keyring.find(shown).name == "web"


async def test_a_machine_that_slept_lets_in_again_with_the_next_look(world: World) -> None:
    shown = await world.create()
    world.passed += 8 * 3600
    world.assert_shut(shown, NOBODY)
    await world.keyring.refresh()
    assert world.keyring.find(shown).name == "web"


@pytest.mark.parametrize("then", ["answers", "fails first"])
async def test_that_it_hangs_is_told_once_and_that_it_is_over_too(
        world: World, caplog: pytest.LogCaptureFixture, then: str) -> None:
    await world.create()
    running = asyncio.create_task(world.keyring.run(every=0.01))
    async with world.hanging():
        world.passed += 5.5
        await until(lambda: caplog.records)
        await asyncio.sleep(0.1)  # in which it would be told again
        if then == "fails first":
            world.path.rename(world.path.with_suffix(".away"))
    if then == "fails first":
        await until(lambda: len(caplog.records) > 1)
        await asyncio.sleep(0.1)
        world.path.with_suffix(".away").rename(world.path)
    await until(lambda: world.keyring.ready)
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait({running})
    told = [(entry.levelname, entry.getMessage()) for entry in caplog.records if entry.name == "aioapp.keys"]
    assert told == [("ERROR", "The keys could not be read for 5 s: nobody is let in until they can."),
                    ("WARNING", "The keys can be read again.")]


async def test_what_another_process_does_is_seen_while_it_runs(world: World) -> None:
    shown = await world.create()
    other = World(world.path)
    running = asyncio.create_task(world.keyring.run(every=0.01))
    await other.revoke()
    await until(lambda: revoked(world.keyring, shown))
    running.cancel()
    await other.database.close()


def revoked(keyring: Keyring, shown: str) -> bool:
    try:
        return not keyring.find(shown)
    except Unauthorized:
        return True
