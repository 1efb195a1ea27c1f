"""Thousands of random schedules against a model that keeps every event in a list and knows nothing of windows."""
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aioapp.callers import Caller, Limits
from aioapp.errors import BadRequest, LimitReached
from aioapp.store.embedded.limiter import Limiter, Reservation
from aioapp.store.embedded.board.board import Board, PrivateBoard, open_board
from aioapp.store.embedded.board.account import COLUMNS, SIZE, SLOTS
from aioapp.store.embedded.board.share import WIDTH

PAUSES = (0.001, 0.2, 0.999, 1.0, 1.5, 7.0, 29.5, 58.9, 59.999, 60.0, 60.5, 61.0)
LIMITS = (
    Limits(requests_per_minute=3, tokens_per_minute=10, concurrency=2),
    Limits(requests_per_minute=1, concurrency=1),
    Limits(requests_per_minute=4, tokens_per_minute=6),
    Limits(tokens_per_minute=12),
    Limits(),
)
QUICK = settings(max_examples=5_000, deadline=None, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))


class Clock:
    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Story:
    """What has happened to one client, as a list. Amounts are with the time at which they were counted."""

    client: Caller
    requests: list[tuple[float, int]] = field(default_factory=list)
    tokens: list[tuple[float, int]] = field(default_factory=list)
    admitted: list[tuple[float, int]] = field(default_factory=list)
    flying: list[tuple[Reservation, int]] = field(default_factory=list)
    overused: bool = False

    @property
    def held(self) -> int:
        return sum(tokens for _, tokens in self.flying)


def since(events: list[tuple[float, int]], moment: float) -> int:
    return sum(amount for when, amount in events if when > moment)


def most_in_a_minute(events: list[tuple[float, int]]) -> int:
    """The most that lies in any interval of 60 seconds; the busiest one begins with an event."""
    return max((sum(amount for when, amount in events if began <= when < began + 60) for began, _ in events), default=0)


class Run:
    """One schedule, step by step, on several limiters that share what they count."""

    def __init__(self, limiters: list[Limiter], clock: Clock, clients: list[Caller]) -> None:
        self.limiters, self.clock = limiters, clock
        self.stories = [Story(client) for client in clients]

    def step(self, action: int, amount: int) -> None:
        limiter, story = self.limiters[amount % len(self.limiters)], self.stories[action // 8 % len(self.stories)]
        match action % 8:
            case 0 | 1:
                self.admit(limiter, story)
            case 2:
                self.refund(limiter, story)
            case 3:
                self.reserve(limiter, story, amount // 4 % 12)
            case 4 | 5:
                self.settle(story, amount // 4)
            case 6:
                self.clock.now += PAUSES[amount % len(PAUSES)]
            case 7:
                self.ask(limiter, story, amount // 4 % 12)
        self.compare(self.limiters[amount // 2 % len(self.limiters)], story)

    def admit(self, limiter: Limiter, story: Story) -> bool:
        now, limit = self.clock.now, story.client.limits.requests_per_minute
        try:
            second = limiter.admit(story.client)
        except LimitReached as refused:
            assert refused.refused == "requests_per_minute"
            assert limit is not None and since(story.requests, now - 61) >= limit
            self.check_wait(story.requests, refused.retry_after, most=limit - 1)
            return False
        assert limit is None or since(story.requests, now - 60) < limit
        story.requests.append((now, 1))
        story.admitted.append((now, second))
        return True

    def refund(self, limiter: Limiter, story: Story) -> None:
        if story.admitted:
            when, second = story.admitted.pop()
            limiter.refund(story.client, second)
            story.requests.remove((when, 1))

    def reserve(self, limiter: Limiter, story: Story, tokens: int) -> bool:
        now, limits = self.clock.now, story.client.limits
        most, slots = limits.tokens_per_minute, limits.concurrency
        try:
            reservation = limiter.reserve(story.client, tokens)
        except BadRequest:
            assert most is not None and tokens > most
            return False
        except LimitReached as refused:
            self.check_refusal(story, tokens, refused)
            return False
        assert slots is None or len(story.flying) < slots
        assert most is None or since(story.tokens, now - 60) + story.held + tokens <= most
        story.flying.append((reservation, tokens))
        return True

    def check_refusal(self, story: Story, tokens: int, refused: LimitReached) -> None:
        limits = story.client.limits
        if refused.refused == "concurrency":
            assert len(story.flying) == limits.concurrency and refused.retry_after == 1
            return
        most = limits.tokens_per_minute
        assert refused.refused == "tokens_per_minute" and most is not None
        assert since(story.tokens, self.clock.now - 61) + story.held + tokens > most
        if story.held + tokens <= most:
            self.check_wait(story.tokens, refused.retry_after, most=most - tokens - story.held)
        else:
            assert refused.retry_after == 1

    def check_wait(self, events: list[tuple[float, int]], wait: int | None, *, most: int) -> None:
        """After `wait` seconds, and no earlier, no more than `most` is counted. It never says more than the minute, and
        what was counted just now stays for less than a second more."""
        assert wait is not None and 1 <= wait <= 60
        assert since(events, (self.clock.now + wait + (wait == 60)) // 1 - 60 - 1e-9) <= most
        assert wait == 1 or since(events, (self.clock.now + wait - 1) // 1 - 60 - 1e-9) > most

    def settle(self, story: Story, amount: int) -> None:
        if story.flying:
            reservation, held = story.flying.pop(amount % len(story.flying))
            used = amount % (held + 3)  # at times more than was held
            reservation.settle(used)
            reservation.settle(used + 1)
            story.overused |= used > held
            story.tokens.append((self.clock.now, used))

    def ask(self, limiter: Limiter, story: Story, tokens: int) -> None:
        """As a request does: admitted first, and refunded where the tokens are refused."""
        before = limiter.remaining(story.client)
        if self.admit(limiter, story) and not self.reserve(limiter, story, tokens):
            self.refund(limiter, story)
            assert limiter.remaining(story.client) == before

    def compare(self, limiter: Limiter, story: Story) -> None:
        now, limits, standing = self.clock.now, story.client.limits, limiter.remaining(story.client)
        if limits.requests_per_minute is not None:
            assert 0 <= standing.requests
            assert limits.requests_per_minute - since(story.requests, now - 61) <= standing.requests
            assert standing.requests <= limits.requests_per_minute - since(story.requests, now - 60)
        if limits.tokens_per_minute is not None:
            left = limits.tokens_per_minute - story.held
            assert max(0, left - since(story.tokens, now - 61)) <= standing.tokens
            assert standing.tokens <= max(0, left - since(story.tokens, now - 60))
        if limits.concurrency is not None:
            assert standing.slots == limits.concurrency - len(story.flying)

    def end(self) -> None:
        """Everything settled: nothing was ever over a limit, and nothing is held any more."""
        for story in self.stories:
            while story.flying:
                self.settle(story, 0)
            limits = story.client.limits
            assert limits.requests_per_minute is None or most_in_a_minute(story.requests) <= limits.requests_per_minute
            assert limits.tokens_per_minute is None or story.overused or (
                most_in_a_minute(story.tokens) <= limits.tokens_per_minute)
        self.clock.now += 61
        for story in self.stories:
            limits, standing = story.client.limits, self.limiters[0].remaining(story.client)
            whole = (limits.requests_per_minute or 0, limits.tokens_per_minute or 0, limits.concurrency or 0)
            assert (standing.requests, standing.tokens, standing.slots) == whole


@pytest.fixture(scope="module", params=["private", "shared"])
def boards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Board]]:
    """One private board, or three that share a file."""
    folder: Path = tmp_path_factory.mktemp("boards") / "limits"
    boards: list[Board] = [PrivateBoard()] if request.param == "private" else [open_board(folder) for _ in range(3)]
    yield boards
    for board in boards:
        board.close()


@pytest.fixture(scope="module")
def play(boards: list[Board]) -> Callable[[bytes, bytes], None]:
    """Play a schedule with callers that were never seen before, long after all earlier ones."""
    clock, numbers = Clock(), count()
    limiters = [Limiter(lambda board=board: board, clock=clock) for board in boards]  # type: ignore[misc]

    def play(kinds: bytes, schedule: bytes) -> None:
        clock.now += 1000.25
        clients = [Caller(name=f"{next(numbers)}", limits=LIMITS[kind % len(LIMITS)]) for kind in kinds]
        run = Run(limiters, clock, clients)
        for action, amount in zip(schedule[::2], schedule[1::2]):
            run.step(action, amount)
        run.end()
        for board in boards:
            for begin in (SLOTS, COLUMNS + WIDTH * board.process_slot):
                for word in range(begin, begin + WIDTH):
                    assert not any(board.words[word::SIZE].tolist())

    return play


@QUICK
@given(kinds=st.binary(min_size=1, max_size=3), schedule=st.binary(min_size=24, max_size=120))
def test_no_schedule_of_thousands_goes_over_a_limit_or_leaks(
        play: Callable[[bytes, bytes], None], kinds: bytes, schedule: bytes) -> None:
    play(kinds, schedule)


def test_the_model_notices_a_limiter_that_is_not_the_callers_own() -> None:
    """A test of the test: two boards that should be one are two times the limit."""
    clock = Clock()
    limiters = [Limiter(PrivateBoard, clock=clock) for _ in range(2)]
    run = Run(limiters, clock, [Caller(name="one", limits=replace(LIMITS[0], requests_per_minute=1))])
    run.step(0, 0)
    with pytest.raises(AssertionError):
        run.step(0, 1)
