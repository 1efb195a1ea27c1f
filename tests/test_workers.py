"""Four workers on one machine: they hold limits together, know the same keys, keep one account and count one sum."""
import asyncio
import os
import re
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioapp.cli.supervisor import counting
from aioapp.settings import Settings
from tests.keyed import accounts, database, make_key, revoke, shown
from tests.processes import NOTHING, PATIENCE, Server, alive, serving, text_of, until, upstream_at
from tests.test_shutdown import Held
from tests.test_cli_supervisor import kept, stopped
from tests.upstreams import Upstream, upstream

ASK = {"prompt": "Hi", "max_tokens": 100}
SIMULATED = ("--simulate", "--simulate-pace", "0", "--no-access-log")
NUMBER = 4
WINDOW = 1.0
"""Seconds: what a killed worker may have lost, as the README states it."""
SOON = 1.0
"""Seconds after which every worker knows of a key that was made or revoked."""


@dataclass
class Caller:
    """One whose connection one worker holds."""

    pid: int
    url: str
    http: aiohttp.ClientSession

    async def generate(self, key: str | None = None) -> "Answer":
        headers = {} if key is None else shown(key)
        async with self.http.post(f"{self.url}/api/generate", json=ASK, headers=headers) as response:
            return Answer(response.status, response.headers.get("Retry-After"), await response.json())

    async def status(self, key: str | None = None, *, path: str = "/auth-status") -> int:
        async with self.http.get(self.url + path, headers={} if key is None else shown(key)) as response:
            return response.status

    async def metric(self, name: str) -> float:
        """The sum of all series of this name."""
        async with self.http.get(f"{self.url}/metrics") as response:
            assert response.status == 200
            lines = re.findall(rf"^aioapp_{name}(?:{{.*}})? (\S+)$", await response.text(), re.MULTILINE)
        return sum(map(float, lines))


@dataclass
class Answer:
    status: int
    retry_after: str | None
    body: dict[str, Any]


class Team:
    """A supervisor and who talks to its workers."""

    def __init__(self, server: Server, stack: AsyncExitStack) -> None:
        self.server = server
        self.callers: dict[int, Caller] = {}
        self._stack = stack

    async def meet(self) -> None:
        """Have a caller for each worker: while the others stand still, it is the one that takes a connection."""
        pids = await kept(self.server, NUMBER)
        for pid in pids - set(self.callers):
            async with stopped(pids - {pid}):
                http = await self._stack.enter_async_context(
                    aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)))
                self.callers[pid] = Caller(pid, self.server.url, http)
                assert await self.callers[pid].status(path="/health/live") == 200

    async def kill(self) -> Caller:
        """Kill one worker, with all that it does; gives who talked to it."""
        victim = self.callers.pop(min(self.callers))
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: not alive(victim.pid))
        return victim

    async def each(self, ask: Callable[[Caller], Awaitable[object]]) -> list[object]:
        """What each worker answers, all asked at once."""
        return list(await asyncio.gather(*map(ask, self.callers.values())))


@asynccontextmanager
async def team(*flags: str, env: Mapping[str, str] = NOTHING) -> AsyncIterator[Team]:
    async with (asyncio.timeout(3 * PATIENCE), AsyncExitStack() as stack,
                serving("--workers", str(NUMBER), *(flags or SIMULATED), env=env) as server):
        made = Team(server, stack)
        await made.meet()
        yield made
        assert await server.end() == 0
    assert "Traceback" not in server.err


async def hammer(team: Team, key: str, *, until_refused: int) -> list[Answer]:
    """All answers that callers of all workers get at once, until each has been refused so often."""
    async def one(caller: Caller) -> list[Answer]:
        answers: list[Answer] = []
        while sum(answer.status != 200 for answer in answers) < until_refused:
            answers.append(await caller.generate(key))
        return answers

    return sum(await asyncio.gather(*map(one, team.callers.values())), [])


def says_whose_limit_it_was(refused: Sequence[Answer]) -> None:
    for answer in refused:
        assert (answer.status, answer.body["error"]) == (429, "This server's limit for you is reached")
        assert "this is this server's limit, not Claude's" in answer.body["detail"]
        assert answer.retry_after is not None and 1 <= int(answer.retry_after) <= 60


async def test_four_workers_that_are_hammered_at_once_admit_exactly_the_requests_of_a_minute() -> None:
    key = make_key(requests_per_minute=100)
    async with team() as workers:
        answers = await hammer(workers, key, until_refused=30)
        refused = [answer for answer in answers if answer.status != 200]
        assert (len(answers) - len(refused), len(refused)) == (100, 30 * NUMBER)
        says_whose_limit_it_was(refused)
        assert await workers.each(lambda caller: caller.metric("limit_refusals_total")) == [30 * NUMBER] * NUMBER


async def test_four_workers_never_use_more_tokens_than_a_minute_has_and_nearly_all_of_them() -> None:
    limit = 5000
    key = make_key(tokens_per_minute=limit)
    async with team() as workers:
        answers = await hammer(workers, key, until_refused=10)
        says_whose_limit_it_was([answer for answer in answers if answer.status != 200])
        used = sum(answer.body["tokens_used"] for answer in answers if answer.status == 200)
        # While others hold what they may take at most, one is refused that would have found room in the end.
        assert limit - NUMBER * 300 < used <= limit
    with closing(sqlite3.connect(accounts())) as connection:
        [[kept]] = connection.execute("SELECT sum(input_tokens + output_tokens) FROM usage").fetchall()
    assert kept == used


async def test_generations_at_once_are_limited_together_and_those_of_a_killed_worker_make_room() -> None:
    key, held = make_key(concurrency=3), Held()
    async with upstream(held) as claude, team("--no-access-log", env=upstream_at(claude.url)) as workers:
        victim = workers.callers[min(workers.callers)]
        async with stopped(set(workers.callers) - {victim.pid}):
            first = [asyncio.create_task(cut_off(victim.url, key)) for _ in range(3)]
            await until(lambda: in_flight(claude) == 3)
        refused = [await caller.generate(key) for caller in workers.callers.values()]
        says_whose_limit_it_was(refused)
        assert await workers.callers[max(workers.callers)].metric("generations_in_flight") == 3
        await workers.kill()
        assert await asyncio.gather(*first) == [True] * 3
        await until(lambda: in_flight(claude) == 0)
        await workers.meet()
        assert await workers.each(lambda caller: caller.metric("generations_in_flight")) == [0] * NUMBER
        second = [asyncio.create_task(caller.generate(key)) for caller in workers.callers.values()]
        await until(lambda: in_flight(claude) == 3)
        [last], running = await asyncio.wait(second, return_when=asyncio.FIRST_COMPLETED)
        says_whose_limit_it_was([await last])
        assert in_flight(claude) == len(running) == 3
        held.release.set()
        assert {(await answer).status for answer in running} == {200}
        assert len(claude.seen) == 6


def in_flight(claude: Upstream) -> int:
    return sum(not connection.gone.is_set() for connection in claude.seen)


async def cut_off(url: str, key: str) -> bool:
    """Ask for a generation; gives whether the worker died on it."""
    async with aiohttp.ClientSession() as http:
        try:
            await Caller(0, url, http).generate(key)
        except aiohttp.ClientError:
            return True
        return False


async def test_a_key_that_is_made_or_revoked_is_so_to_every_worker_within_a_second() -> None:
    make_key("first")
    async with team() as workers:
        key = make_key("second")
        began = asyncio.get_running_loop().time()
        await workers.each(lambda caller: until_status(caller, key, 200))
        revoked = asyncio.get_running_loop().time()
        revoke("second")
        await workers.each(lambda caller: until_status(caller, key, 401))
        assert revoked - began < SOON and asyncio.get_running_loop().time() - revoked < SOON
        for _ in range(5):
            assert await workers.each(lambda caller: caller.status(key)) == [401] * NUMBER


async def until_status(caller: Caller, key: str, status: int) -> None:
    while await caller.status(key) != status:
        await asyncio.sleep(0.01)


async def test_kill_9_of_a_worker_under_load_loses_no_answer_but_of_its_last_second_and_doubles_none() -> None:
    key, now = make_key(), asyncio.get_running_loop().time
    answered: dict[str, tuple[int, float]] = {}
    """By request id: which worker answered, and when."""

    async def load(caller: Caller) -> None:
        try:
            while True:
                answer = await caller.generate(key)
                assert answer.status == 200
                answered[answer.body["request_id"]] = caller.pid, now()
        except aiohttp.ClientError:
            await until(lambda: not alive(caller.pid))

    async with team() as workers:
        loads = [asyncio.create_task(load(caller)) for caller in workers.callers.values()]
        await asyncio.sleep(1.5 * WINDOW)  # longer than what may be lost
        killed = now()
        victim = await workers.kill()
        await asyncio.sleep(0.3)
        for task in loads:
            task.cancel()
        ends = await asyncio.gather(*loads, return_exceptions=True)
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends), ends
    rows, requests = kept_rows()
    lost = {id: answered[id] for id in set(answered) - set(rows)}
    assert len(rows) == len(set(rows)) == requests
    assert {pid for pid, _ in lost.values()} <= {victim.pid}
    assert all(at >= killed - WINDOW for _, at in lost.values())
    of_victim = [at for pid, at in answered.values() if pid == victim.pid]
    assert min(of_victim) < killed - WINDOW < max(of_victim)


def kept_rows() -> tuple[list[str], int]:
    """The request ids that are in the accounts one by one, and how many the sums say there are."""
    with closing(sqlite3.connect(accounts())) as connection:
        rows = [id for [id] in connection.execute("SELECT request_id FROM requests")]
        [[requests]] = connection.execute("SELECT sum(requests) FROM usage").fetchall()
    return rows, requests


async def test_each_worker_tells_what_all_have_counted_those_included_that_were_killed() -> None:
    async with team() as workers:
        folder = Path(variable(min(workers.callers), "PROMETHEUS_MULTIPROC_DIR"))
        assert folder.stat().st_mode & 0o777 == 0o700
        for caller, count in zip(workers.callers.values(), range(1, NUMBER + 1)):
            for _ in range(count):
                assert (await caller.generate()).status == 200
        assert await workers.each(lambda caller: caller.metric("generations_total")) == [10] * NUMBER
        await workers.kill()
        assert await workers.each(lambda caller: caller.metric("generations_total")) == [10] * (NUMBER - 1)
        await workers.meet()
        await workers.each(lambda caller: caller.generate())
        assert await workers.each(lambda caller: caller.metric("generations_total")) == [14] * NUMBER
        assert await workers.each(lambda caller: caller.metric("build_info")) == [1] * NUMBER
    assert not folder.exists()


async def test_a_folder_for_metrics_that_is_set_is_used_and_left_alone(tmp_path: Path) -> None:
    async with team(env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}) as workers:
        await workers.each(lambda caller: caller.generate())
        assert await workers.each(lambda caller: caller.metric("generations_total")) == [NUMBER] * NUMBER
    assert list(tmp_path.glob("counter_*.db")) and not list(tmp_path.glob("gauge_live*.db"))


async def test_a_folder_for_metrics_that_is_removed_keeps_nobody_from_starting_or_telling() -> None:
    async with team() as workers:
        folder = Path(variable(min(workers.callers), "PROMETHEUS_MULTIPROC_DIR"))
        shutil.rmtree(folder)
        await workers.each(lambda caller: caller.generate())
        assert await workers.each(lambda caller: caller.metric("generations_total")) == [1] * NUMBER
        await workers.kill()
        await workers.meet()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {answer.status for answer in await asyncio.gather(
            *[caller.generate() for caller in workers.callers.values()])} == {200}
        assert await workers.each(lambda caller: caller.metric("generations_total")) == [1] * NUMBER  # the new one's
    assert not folder.exists()


async def test_one_worker_alone_counts_in_its_own_memory(http: aiohttp.ClientSession) -> None:
    async with serving(*SIMULATED, "--workers", "1") as server:
        assert "PROMETHEUS_MULTIPROC_DIR" not in text_of(Path(f"/proc/{server.pid}/environ"))
        assert await Caller(server.pid, server.url, http).metric("build_info") == 1


def test_workers_serve_though_there_is_no_folder_to_count_in(
        monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with counting(Settings(workers=2), {}) as folder:
        assert folder is None
    assert "/metrics tells what one worker has counted" in caplog.text


def variable(pid: int, name: str) -> str:
    return dict(entry.split("=", 1) for entry in text_of(Path(f"/proc/{pid}/environ")).split("\0") if entry)[name]


@pytest.mark.parametrize("with_key", [True, False], ids=["with a key", "without keys"])
async def test_a_new_worker_does_not_make_the_database_that_has_gone_and_opens_no_door(with_key: bool) -> None:
    key = make_key() if with_key else None
    async with team() as workers:
        assert await workers.each(lambda caller: caller.status(key)) == [200] * NUMBER
        aside = database().with_name("aside")
        database().rename(aside)
        await workers.kill()
        await workers.meet()
        async with asyncio.timeout(PATIENCE):
            while await workers.each(lambda caller: caller.status(key)) != [503] * NUMBER:
                await asyncio.sleep(0.05)
        for given in (key, None, "aio_wrong"):
            answers = await asyncio.gather(*[caller.generate(given) for caller in workers.callers.values()])
            assert {(answer.status, answer.body["error"]) for answer in answers} == {
                (503, "The server's database cannot be used")}
        assert await workers.each(lambda caller: caller.status(path="/health")) == [503] * NUMBER
        assert not database().exists()
        aside.rename(database())
        async with asyncio.timeout(PATIENCE):
            while await workers.each(lambda caller: caller.status(path="/health")) != [200] * NUMBER:
                await asyncio.sleep(0.05)
        assert {answer.status for answer in await asyncio.gather(
            *[caller.generate(key) for caller in workers.callers.values()])} == {200}
        if with_key:
            assert await workers.each(lambda caller: caller.status()) == [401] * NUMBER
