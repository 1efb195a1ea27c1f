"""Generations as the pipeline hands them over once they have ended, and a clock to end them by."""
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aioapp.callers import Budget, Caller, Period, Spent
from aioapp.generation import Admission, Generation, Outcome
from aioapp.messages.events import Usage
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.messages.summary import Summary
from aioapp.money import NANO
from aioapp.store.embedded.allowance import EmbeddedAllowance
from aioapp.store.embedded.board.board import PrivateBoard
from aioapp.store.embedded.database import Database
from aioapp.store.embedded.limiter import Limiter, Reservation
from aioapp.store.embedded.usage import EmbeddedUsage
from aioapp.usage.ledger import Ledger

SONNET = "claude-sonnet-5-5"
WEB = Caller(name="web", known=True)


@dataclass
class Clock:
    now: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Counted(Summary):
    """An answer of which is known what it says, without the events that say it."""

    __slots__ = ("_given",)

    def __init__(self, model: str | None, usage: Usage) -> None:
        super().__init__()
        self.model, self.stop_reason, self._given = model, "end_turn", usage

    @property
    def usage(self) -> Usage:
        return self._given


def ended(
        client: Caller = WEB, nanodollars: int = 0, *, asked: str | None = SONNET, model: str | None = SONNET,
        outcome: Outcome = "completed", error: str | None = None, usage: Usage = Usage(), request_id: str = "r",
        text: str = "Hi", first: float | None = 0.5,
) -> Generation:
    """A generation that has ended, after two seconds."""
    prompt = TextPrompt(messages=(Turn("user", text),), max_tokens=5, model=asked)
    return Generation(
        prompt=prompt, admission=Admission(caller=client, request_id=request_id), outcome=outcome, error=error,
        answer=Counted(model, usage), nanodollars=nanodollars, first=first, duration=2.0)


def with_budget(nanodollars: int, *, per: Period = "day", name: str = "web") -> Caller:
    return Caller(name=name, known=True, budget=Budget(nanodollars=nanodollars, per=per))


DOLLAR = with_budget(NANO)


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """A ledger, and what stands behind it, which a test may harm."""

    ledger: Ledger
    usage: EmbeddedUsage
    limiter: Limiter
    database: Database

    @property
    def allowance(self) -> EmbeddedAllowance:
        return EmbeddedAllowance(self.limiter, self.usage)

    @property
    def ready(self) -> bool:
        return self.usage.ready

    def add(self, generation: Generation) -> None:
        """It ends: what it cost is charged, as where what was reserved is settled, and accounted for."""
        caller = generation.admission.caller
        if caller.budget is not None:
            self.limiter.charge(caller, generation.nanodollars)
        self.ledger.add(generation)

    def known(self, client: Caller) -> Spent | None:
        return self.usage.known(client)

    async def spent(self, client: Caller) -> int:
        """Nanodollars of which the database knows, once all is written."""
        await self.ledger.flush()
        return await self.usage.spent(client)

    async def flush(self) -> None:
        await self.ledger.flush()

    async def run(self) -> None:
        """Write what is added and read what others wrote, for ever."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self.ledger.run())
            both.create_task(self.usage.run())

    async def close(self) -> None:
        await self.ledger.close()

    async def refresh(self, *, unlike: Spent | None = None) -> None:
        await self.usage.refresh(unlike=unlike)


def accounts_on(
        database: Database, *, clock: Callable[[], datetime] | None = None, keep_prompts: bool = False,
        limiter: Limiter | None = None,
) -> Accounts:
    limiter, clock = limiter or Limiter(PrivateBoard), clock or Clock()
    usage = EmbeddedUsage(database, limiter, clock=clock)
    ledger = Ledger(usage, clock=clock, keep_prompts=keep_prompts)
    return Accounts(ledger=ledger, usage=usage, limiter=limiter, database=database)


@asynccontextmanager
async def ledger_at(
        path: Path, *, clock: Callable[[], datetime] | None = None, keep_prompts: bool = False,
        limiter: Limiter | None = None,
) -> AsyncIterator[tuple[Accounts, Database]]:
    """Accounts whose sums are read, and the database under them, which a test may harm."""
    database = Database(path, create=True)
    accounts = accounts_on(database, clock=clock, keep_prompts=keep_prompts, limiter=limiter)
    await accounts.refresh()
    try:
        yield accounts, database
    finally:
        await database.close()


async def hold(accounts: Accounts, client: Caller, nanodollars: int) -> Reservation:
    """Set so much aside, with a token, as for a generation."""
    return await accounts.allowance.reserve(client, tokens=1, nanodollars=nanodollars)


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
