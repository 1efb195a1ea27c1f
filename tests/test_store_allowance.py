"""An allowance waits for other processes' turns, and for what it does not know yet, in whichever order they come."""
import asyncio
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from aioapp.callers import Caller, Limits, Spent
from aioapp.errors import BadRequest, BudgetSpent, StoreUnavailable
from aioapp.money import NANO
from aioapp.store.embedded import open_store
from aioapp.store.embedded.board.board import PrivateBoard, open_board
from aioapp.store.embedded.board.purse import Stale
from aioapp.store.embedded.board.turns import Busy
from aioapp.store.embedded.limiter import Limiter, Reservation
from tests.generations import DOLLAR, ledger_at


class Hindered(Limiter):
    """A limiter that meets so many hindrances before it has its turn."""

    def __init__(self, *hindrances: type[StoreUnavailable]) -> None:
        super().__init__(PrivateBoard, waiting=False)
        self.hindrances = list(hindrances)

    def reserve(self, caller: Caller, tokens: int, *, nanodollars: int = 0, spent: Spent | None = None) -> Reservation:
        if self.hindrances:
            raise self.hindrances.pop(0)("Try again in a moment.", retry_after=1)
        return super().reserve(caller, tokens, nanodollars=nanodollars, spent=spent)


@pytest.mark.parametrize("hindrances", [(), (Busy,), (Stale,), (Busy, Stale), (Stale, Busy), (Busy, Busy, Stale, Busy)])
async def test_whatever_stands_in_the_way_for_a_moment_refuses_nothing(
        tmp_path: Path, hindrances: tuple[type[StoreUnavailable], ...]) -> None:
    limiter = Hindered(*hindrances)
    async with ledger_at(tmp_path / "db", limiter=limiter) as (accounts, _):
        (await accounts.allowance.reserve(DOLLAR, tokens=1, nanodollars=1)).settle(0)
    assert not limiter.hindrances


CHEAP = replace(DOLLAR, limits=Limits(tokens_per_minute=100, concurrency=1))


@pytest.mark.parametrize(("tokens", "nanodollars", "said"), [
    (101, 1, "lower max_tokens"), (1, 2 * NANO, "whole budget")])
async def test_what_never_fits_is_told_as_that_also_where_there_is_something_to_wait_for(
        tmp_path: Path, tokens: int, nanodollars: int, said: str) -> None:
    async with ledger_at(tmp_path / "db") as (accounts, database):
        allowance = accounts.allowance
        running = await allowance.reserve(CHEAP, tokens=100, nanodollars=NANO)
        for refusal in (BudgetSpent, StoreUnavailable):
            with pytest.raises(refusal):
                await allowance.reserve(CHEAP, tokens=1, nanodollars=1)
            with pytest.raises(BadRequest, match=said):
                await allowance.reserve(CHEAP, tokens=tokens, nanodollars=nanodollars)
            accounts.usage._failing = True
        running.settle(0)


async def test_a_turn_that_never_ends_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limiter = Hindered(*[Busy] * 100_000)
    async with ledger_at(tmp_path / "db", limiter=limiter) as (accounts, _):
        with pytest.raises(StoreUnavailable):
            await accounts.allowance.reserve(DOLLAR, tokens=1, nanodollars=1)
    assert "The counts of the limits cannot be used" in caplog.text


@pytest.mark.parametrize("opened", [True, False])
async def test_a_process_that_stands_still_in_its_turn_holds_nobody_up_on_the_event_loop(
        tmp_path: Path, caplog: pytest.LogCaptureFixture, opened: bool) -> None:
    limited = Caller(name="web", known=True, limits=Limits(requests_per_minute=100))
    async with open_store(tmp_path / "db", create=True) as store:
        if opened:
            await store.allowance.admit(limited)
        with open_board(tmp_path / "db-limits"):
            looping, longest = asyncio.create_task(longest_standstill()), 0.0
            for _ in range(4):
                with pytest.raises(StoreUnavailable):
                    await store.allowance.admit(limited)
            looping.cancel()
            longest = await looping
        await store.allowance.admit(limited)
    assert longest < 0.2
    assert "another process does not let go of the lock" in caplog.text


async def longest_standstill() -> float:
    """Seconds for which the event loop turned to nobody, until it is cancelled."""
    longest, before = 0.0, monotonic()
    while True:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return longest
        longest, before = max(longest, monotonic() - before), monotonic()
