"""Generations as the pipeline hands them over once they have ended, and a clock to end them by."""
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aioapp.callers import NANO, Budget, Caller, Period
from aioapp.generation import Call, Outcome, Record
from aioapp.messages.prompt import Prompt, Turn
from aioapp.layers.budgeted import reserved
from aioapp.store.embedded.allowance import Limiter, Reservation
from aioapp.store.embedded.board.board import PrivateBoard
from aioapp.messages.events import Usage
from aioapp.store.embedded.database import Database
from aioapp.usage.ledger import Ledger

SONNET = "claude-sonnet-5-5"
WEB = Caller(name="web", known=True)


@dataclass
class Clock:
    now: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def ended(
        client: Caller = WEB, nanodollars: int = 0, *, asked: str | None = SONNET, model: str | None = SONNET,
        outcome: Outcome = "completed", error: str | None = None, usage: Usage = Usage(), request_id: str = "r",
        text: str = "Hi", first: float | None = 0.5,
) -> Record:
    """A generation that has ended, after two seconds."""
    prompt = Prompt(messages=(Turn("user", text),), max_tokens=5, model=asked)
    return Record(
        call=Call(prompt=prompt, deadline=0.0, caller=client, request_id=request_id), outcome=outcome, error=error,
        model=model, stop_reason="end_turn", usage=usage, nanodollars=nanodollars, first=first, duration=2.0)


def with_budget(nanodollars: int, *, per: Period = "day", name: str = "web") -> Caller:
    return Caller(name=name, known=True, budget=Budget(nanodollars=nanodollars, per=per))


DOLLAR = with_budget(NANO)


@asynccontextmanager
async def ledger_at(
        path: Path, *, clock: Callable[[], datetime] | None = None, keep_prompts: bool = False,
        limiter: Limiter | None = None,
) -> AsyncIterator[tuple[Ledger, Database]]:
    """A ledger that has read its sums, and the database under it, which a test may harm."""
    database = Database(path, create=True)
    ledger = Ledger(database, limiter or Limiter(PrivateBoard), clock=clock or Clock(), keep_prompts=keep_prompts)
    await ledger.refresh()
    try:
        yield ledger, database
    finally:
        await database.close()


async def hold(ledger: Ledger, client: Caller, nanodollars: int) -> Reservation:
    """Set so much aside, with a token, as for a generation."""
    limiter = ledger._counts
    assert isinstance(limiter, Limiter)
    return await reserved(client, 1, nanodollars=nanodollars, limiter=limiter, ledger=ledger)


@dataclass(frozen=True)
class Written:
    """What a database holds: the names of all single generations, how many are in the sums, and their nanodollars."""

    names: list[str]
    requests: int
    nanodollars: int


async def written(database: Database) -> Written:
    rows = await database.read(lambda c: c.execute("SELECT request_id FROM requests ORDER BY number").fetchall())
    [sums] = await database.read(lambda c: c.execute(
        "SELECT coalesce(sum(requests), 0), coalesce(sum(nanodollars), 0) FROM usage").fetchall())
    return Written([name for [name] in rows], *sums)
