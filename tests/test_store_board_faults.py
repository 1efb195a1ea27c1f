"""What becomes of counts that others write over: whatever they are then, no answer is cut, and limits hold again."""
import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioapp.callers import Limits, Spent
from aioapp.errors import AppError, LimitReached
from aioapp.web.access.ratelimit_headers import remaining_field
from aioapp.store.embedded.limiter import Limiter, Reservation
from aioapp.store.embedded.board.board import PrivateBoard
from aioapp.store.embedded.board.account import ANEW, COLUMNS, SIZE, TURN
from aioapp.store.embedded.board.board import ACCOUNTS
from aioapp.store.embedded.board.directory import key_of
from tests.generations import with_budget
from tests.keyed import accounts, make_key, shown
from tests.processes import AIOAPP, PATIENCE, Server, serving

ASK = {"prompt": "Hi", "max_tokens": 10}
SIMULATED = ("--simulate", "--simulate-pace", "0", "--no-access-log")
LIMITS: dict[str, Any] = {"requests_per_minute": 10**6, "tokens_per_minute": 10**9, "concurrency": 100}
WORD = 8
Harm = Callable[[Path], None]


def counts() -> Path:
    [file] = accounts().with_name(f"{accounts().name}-limits").glob("counts-?")
    return file


def filled(data: bytes, *, begin: int = 0) -> Harm:
    def harm(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(begin)
            file.write(data * ((path.stat().st_size - begin) // len(data)))

    return harm


def noise(seed: int, *, begin: int = 0) -> Harm:
    return filled(random.Random(seed).randbytes(2**20), begin=begin)


def cut(length: int) -> Harm:
    return lambda path: os.truncate(path, length)


def cut_and_grown(path: Path) -> None:
    length = path.stat().st_size
    os.truncate(path, 4096)
    os.truncate(path, length)


HEADER = 64
EMPTIED = "cut to nothing"
HARMS: dict[str, Harm] = {
    **{f"noise {seed}": noise(seed) for seed in range(3)},
    **{f"noise {seed} behind the header": noise(seed, begin=HEADER) for seed in range(3)},
    "ones": filled(b"\xff"), "ones behind the header": filled(b"\xff", begin=HEADER), "zeros": filled(b"\0"),
    "great numbers": filled((2**62).to_bytes(WORD, "little"), begin=HEADER),
    "letters": filled(b"no counts, is it"),
    EMPTIED: cut(0), "cut in the header": cut(10), "cut in the middle": cut(5_000_000),
    "cut and grown": cut_and_grown}


async def answers(http: aiohttp.ClientSession, server: Server, key: str) -> Counter[int]:
    """The statuses of answers that came whole, in both forms."""
    async def ask(path: str) -> int:
        async with http.post(f"{server.url}/api/{path}", json=ASK, headers=shown(key)) as response:
            text = await response.text()
            assert response.status != 200 or "RateLimit-Policy" in response.headers
            assert response.status != 200 or path != "stream" or text.endswith("data: [DONE]\n\n")
            return response.status

    return Counter(await asyncio.gather(*[ask(path) for path in ("generate", "stream") * 4]))


async def until_served(http: aiohttp.ClientSession, server: Server, key: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (statuses := await answers(http, server, key)).keys() != {200}:
            assert statuses.keys() <= {200, 503}
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", HARMS)
async def test_a_file_that_is_spoilt_under_a_running_server_cuts_no_answer_and_is_made_anew_once(
        http: aiohttp.ClientSession, name: str) -> None:
    key, few = make_key("free", **LIMITS), make_key("few", concurrency=1)
    async with serving(*SIMULATED, command=AIOAPP) as server:
        for one in (key, few):
            async with http.post(f"{server.url}/api/generate", json=ASK, headers=shown(one)) as response:
                assert response.status == 200
        HARMS[name](counts())
        assert await answers(http, server, key) == {200: 8}
        assert await answers(http, server, few) >= Counter({200: 1, 429: 1})
        assert await server.end() == 0
    lines = [line for line in server.err.splitlines() if "The counts of the limits" in line]
    assert ["begin anew" in line for line in lines] == [True] * (name != EMPTIED)  # which is what a new file looks like
    assert "Traceback" not in server.err


async def test_workers_whose_file_is_spoilt_say_so_once_and_spend_of_budgets_again_within_seconds(
        http: aiohttp.ClientSession) -> None:
    key = make_key(usd=100, **LIMITS)
    async with serving(*SIMULATED, "--workers", "3", command=AIOAPP) as server:
        await until_served(http, server, key)
        noise(9)(counts())
        await until_served(http, server, key)
        assert await server.end() == 0
    assert len(re.findall("The counts of the limits", server.err)) == 1
    assert "Traceback" not in server.err


CALLER = replace(with_budget(10**6), limits=Limits(requests_per_minute=5, tokens_per_minute=100, concurrency=3))
ODD = st.one_of(st.sampled_from([0, 1, -1, 2**31, 2**62, 2**63 - 1, -2**63]), st.integers(-2**63, 2**63 - 1))
PLACES = st.one_of(st.integers(0, SIZE - 1), st.integers(0, COLUMNS), st.integers(ANEW, TURN))
DOINGS = st.lists(st.sampled_from(["admit", "reserve", "settle", "charge", "written", "standing", "mark", "wait"]),
                  min_size=1, max_size=15)


class Caller:
    """Does what requests do, and takes refusals for answers; nothing else may be raised."""

    def __init__(self) -> None:
        self.now, self.charged, self.day = 1000.0, 0, "2026-11-23"
        self.limiter = Limiter(PrivateBoard, clock=lambda: self.now)
        self.running: list[Reservation] = []

    def reserve(self) -> None:
        spent = Spent(at=datetime.now(UTC), period=self.day, nanodollars=7, mark=self.limiter.mark())
        self.running.append(self.limiter.reserve(CALLER, 10, nanodollars=1000, spent=spent))

    def do(self, what: str) -> None:
        with suppress(AppError):
            match what:
                case "admit":
                    self.limiter.refund(CALLER, self.limiter.admit(CALLER))
                case "reserve":
                    self.reserve()
                case "settle" if self.running:
                    self.running.pop().settle(5)
                case "charge":
                    self.limiter.charge(CALLER, 3)
                    self.charged += 3
                case "written":
                    self.limiter.written({(CALLER.account, "2026-11-23"): self.charged})
                    self.charged = 0
                case "standing":
                    remaining_field(self.limiter.remaining(CALLER))
                case "mark":
                    self.limiter.mark()
                case "wait":
                    self.now += 7


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=DOINGS, place=PLACES, odd=ODD, after=DOINGS)
def test_any_word_may_change_and_no_request_fails_for_it_and_limits_hold_again(
        before: list[str], place: int, odd: int, after: list[str]) -> None:
    caller = Caller()
    for what in before:
        caller.do(what)
    caller.limiter.remaining(CALLER)
    table = caller.limiter._turns._directory
    assert table is not None
    home = key_of(CALLER.account)[0] % ACCOUNTS * SIZE
    table.board.words[place if place < 0 else home + place] = odd
    for what in after:
        caller.do(what)
    for _ in range(3):  # what makes no sense is found with a refusal, or when its time has passed
        while caller.running:
            caller.running.pop().settle(0)
        caller.now += 61
        for _ in range(4):
            caller.do("reserve")
    while caller.running:
        caller.running.pop().settle(0)
    caller.now += 61
    caller.day = "2026-11-24"  # what was lost stays counted until the budget renews
    for _ in range(3):
        caller.reserve()
    with pytest.raises(LimitReached):
        caller.reserve()
    standing = caller.limiter.remaining(CALLER)
    assert (standing.requests, standing.tokens, standing.slots) == (5, 70, 0)
