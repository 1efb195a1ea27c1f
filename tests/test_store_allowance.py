"""An allowance waits for other processes' turns, and for what it does not know yet, in whichever order they come."""
from pathlib import Path

import pytest

from aioapp.callers import Caller, Spent
from aioapp.errors import StoreUnavailable
from aioapp.store.embedded.board.board import PrivateBoard
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


async def test_a_turn_that_never_ends_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limiter = Hindered(*[Busy] * 100_000)
    async with ledger_at(tmp_path / "db", limiter=limiter) as (accounts, _):
        with pytest.raises(StoreUnavailable):
            await accounts.allowance.reserve(DOLLAR, tokens=1, nanodollars=1)
    assert "The counts of the limits cannot be used" in caplog.text
