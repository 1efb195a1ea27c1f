"""What a caller may do in a minute and at once, told step by step with a clock that a test moves."""
import logging
import math
import os
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, flock
from itertools import count
from pathlib import Path

import pytest

from aioapp.callers import Caller, Limits
from aioapp.errors import BadRequest, LimitReached, StoreUnavailable
from aioapp.limits.remaining import Remaining
from aioapp.web.access.ratelimit_headers import policy_field, remaining_field
from aioapp.store.embedded.limiter import Limiter
from aioapp.store.embedded.board.board import Board, PrivateBoard
from aioapp.store.embedded.board.account import PROCESSES, SIZE
from aioapp.store.embedded.board.board import ACCOUNTS
from aioapp.store.embedded.board.directory import REACH, key_of
from aioapp.store.embedded.board.file import NAME, SharedBoard
from aioapp.store.embedded.board.window import RING, WORDS, Window

WEB = Caller(name="web", known=True, limits=Limits(requests_per_minute=2, tokens_per_minute=100, concurrency=2))


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "limits"


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(PrivateBoard, clock=clock)


def client(name: str = "web", **limits: int) -> Caller:
    return Caller(name=name, known=True, limits=Limits(**limits))


def shared(folder: Path, clock: Clock) -> Limiter:
    return Limiter(lambda: SharedBoard(folder, poll=0.0), clock=clock)


def refused(act: Callable[[], object]) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        act()
    return caught.value


def test_a_refusal_says_whose_limit_it_is_and_when_to_come_back(limiter: Limiter, clock: Clock) -> None:
    clock.now = 1000.9
    limiter.admit(WEB)
    clock.now = 1010.0
    limiter.admit(WEB)
    error = refused(lambda: limiter.admit(WEB))
    assert (error.refused, error.retry_after) == ("requests_per_minute", 51)
    assert error.detail == "2 requests a minute are allowed; this is this server's limit, not Claude's."
    clock.now += 50
    assert refused(lambda: limiter.admit(WEB)).retry_after == 1
    clock.now += 1
    limiter.admit(WEB)


def test_a_minute_begins_anywhere(limiter: Limiter, clock: Clock) -> None:
    """A window that was emptied at full minutes would allow four requests in a second here."""
    clock.now = 1019.9
    limiter.admit(WEB), limiter.admit(WEB)
    for later in (1020.0, 1060.0, 1079.8, 1079.9):
        clock.now = later
        refused(lambda: limiter.admit(WEB))
    clock.now = 1080.0
    limiter.admit(WEB), limiter.admit(WEB)


def test_a_refunded_request_was_never_counted(limiter: Limiter, clock: Clock) -> None:
    first = limiter.admit(WEB)
    clock.now += 30
    second = limiter.admit(WEB)
    limiter.refund(WEB, first)
    assert limiter.remaining(WEB).requests == 1
    limiter.refund(WEB, first)
    assert limiter.remaining(WEB).requests == 1
    limiter.refund(WEB, second)
    assert limiter.remaining(WEB) == limiter.remaining(
        client("unseen", requests_per_minute=2, tokens_per_minute=100, concurrency=2))


def test_tokens_are_held_while_they_may_be_used_and_counted_once_they_were(limiter: Limiter, clock: Clock) -> None:
    reservation = limiter.reserve(WEB, 60)
    error = refused(lambda: limiter.reserve(WEB, 41))
    assert (error.refused, error.retry_after) == ("tokens_per_minute", 1)
    assert error.detail == "100 tokens a minute are allowed; this is this server's limit, not Claude's."
    clock.now += 100
    reservation.settle(30)
    error = refused(lambda: limiter.reserve(WEB, 71))
    assert (error.refused, error.retry_after) == ("tokens_per_minute", 60)
    limiter.reserve(WEB, 70).settle(0)
    clock.now += 61
    limiter.reserve(WEB, 100)


def test_more_tokens_than_were_reserved_are_counted_all_the_same(limiter: Limiter, clock: Clock) -> None:
    limiter.reserve(WEB, 10).settle(250)
    assert limiter.remaining(WEB).tokens == 0
    assert refused(lambda: limiter.reserve(WEB, 0)).retry_after == 60
    clock.now += 61
    limiter.reserve(WEB, 100)


def test_nonsense_from_upstream_breaks_no_sum(limiter: Limiter, clock: Clock) -> None:
    limiter.reserve(WEB, 10).settle(-5)
    assert limiter.remaining(WEB).tokens == 100
    limiter.reserve(WEB, 10).settle(10**30)
    assert limiter.remaining(WEB).tokens == 0
    clock.now += 61
    assert limiter.remaining(WEB).tokens == 100


def test_slots_are_taken_and_given_back_with_the_tokens(limiter: Limiter) -> None:
    first, _ = limiter.reserve(WEB, 1), limiter.reserve(WEB, 1)
    error = refused(lambda: limiter.reserve(WEB, 1))
    assert (error.refused, error.retry_after) == ("concurrency", 1)
    assert error.detail == "2 generations at once are allowed; this is this server's limit, not Claude's."
    assert limiter.remaining(WEB).tokens == 98
    first.settle(1)
    first.settle(1)
    limiter.reserve(WEB, 1)
    refused(lambda: limiter.reserve(WEB, 1))


def test_what_can_never_be_allowed_is_a_bad_request(limiter: Limiter) -> None:
    with pytest.raises(BadRequest) as caught:
        limiter.reserve(WEB, 101)
    assert "lower max_tokens" in str(caught.value.detail) and "not Claude's" in str(caught.value.detail)
    assert limiter.remaining(WEB).slots == 2
    assert refused(lambda: limiter.admit(client("closed", requests_per_minute=0))).retry_after == 60


def test_clients_without_limits_never_open_the_board() -> None:
    def no_board() -> Board:
        raise AssertionError("it was opened")

    limiter, free = Limiter(no_board), client()
    limiter.refund(free, limiter.admit(free))
    limiter.reserve(free, 10**9).settle(10**9)
    assert limiter.remaining(free) == Remaining()


def test_one_account_leaves_the_others_alone(limiter: Limiter) -> None:
    limiter.admit(WEB), limiter.admit(WEB)
    address = Caller(name="web", limits=WEB.limits)
    limiter.admit(address), limiter.admit(address)
    assert limiter.remaining(client("app", requests_per_minute=2)).requests == 2


def test_limits_that_were_changed_hold_for_what_was_counted_before(limiter: Limiter) -> None:
    limiter.admit(WEB), limiter.admit(WEB)
    limiter.admit(client(requests_per_minute=3))
    assert limiter.remaining(client(requests_per_minute=1)).requests == 0
    assert refused(lambda: limiter.admit(client(requests_per_minute=1))).retry_after == 60


def test_a_clock_that_began_anew_makes_old_counts_stale(folder: Path, clock: Clock) -> None:
    before = shared(folder, clock)
    before.admit(WEB), before.admit(WEB)
    before.reserve(WEB, 90).settle(90)
    before.close()
    clock.now = 3.0
    after = shared(folder, clock)
    assert (after.remaining(WEB).requests, after.remaining(WEB).tokens) == (2, 100)
    after.admit(WEB), after.admit(WEB)
    refused(lambda: after.admit(WEB))
    after.close()


def test_headers_name_only_the_limits_that_the_client_has(limiter: Limiter, clock: Clock) -> None:
    limiter.admit(WEB)
    clock.now += 48.5
    reservation = limiter.reserve(WEB, 60)
    assert policy_field(WEB.limits) == (
        '"requests";q=2;w=60, "tokens";q=100;w=60;qu="tokens", "concurrency";q=2;qu="concurrent-requests"')
    assert remaining_field(limiter.remaining(WEB)) == '"requests";r=1;t=13, "tokens";r=40, "concurrency";r=1'
    reservation.settle(60)
    assert remaining_field(limiter.remaining(WEB)) == '"requests";r=1;t=13, "tokens";r=40;t=60, "concurrency";r=2'
    slots = client(concurrency=4)
    assert policy_field(slots.limits) == '"concurrency";q=4;qu="concurrent-requests"'
    assert policy_field(Limits()) == remaining_field(Remaining()) == ""
    fresh = client("fresh", requests_per_minute=7, tokens_per_minute=8)
    assert remaining_field(limiter.remaining(fresh)) == '"requests";r=7;t=60, "tokens";r=8;t=60'


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_nobody_is_told_to_wait_longer_than_the_minute(limiter: Limiter, clock: Clock, fraction: float) -> None:
    """Anthropic's SDKs take no notice of a longer one, and would be back at once."""
    clock.now += fraction
    limiter.admit(WEB), limiter.admit(WEB)
    limiter.reserve(WEB, 100).settle(100)
    assert refused(lambda: limiter.admit(WEB)).retry_after == 60
    assert refused(lambda: limiter.reserve(WEB, 1)).retry_after == 60
    standing = limiter.remaining(WEB)
    assert (standing.requests_in, standing.tokens_in) == (60, 60)


@pytest.fixture(scope="module")
def crowd() -> list[str]:
    """Names of accounts that are all looked for from the same place, and more of them than it has within its reach."""
    found: list[str] = []
    for number in count():
        if key_of(f"key:{number}")[0] % ACCOUNTS == 7:
            found.append(f"{number}")
        if len(found) == REACH + 3:
            break
    return found


def test_accounts_for_whom_there_is_no_place_share_one(clock: Clock, crowd: list[str]) -> None:
    board = PrivateBoard()
    limiter = Limiter(lambda: board, clock=clock)
    clients = [client(name, requests_per_minute=2, concurrency=1) for name in crowd]
    for one in clients[:REACH]:
        limiter.admit(one)
    assert places(board, clients) == {one.account for one in clients[:REACH]}
    first, second, third = clients[REACH:]
    limiter.admit(first), limiter.admit(second)
    refused(lambda: limiter.admit(third))
    limiter.reserve(first, 1)
    refused(lambda: limiter.reserve(second, 1))
    assert (limiter.remaining(clients[0]).requests, limiter.remaining(clients[0]).slots) == (1, 1)


def places(board: Board, clients: list[Caller]) -> set[str]:
    """The accounts that have a place of their own."""
    taken = set(zip(board.words[:ACCOUNTS * SIZE:SIZE].tolist(), board.words[1:ACCOUNTS * SIZE:SIZE].tolist()))
    return {one.account for one in clients if key_of(one.account) in taken}


def test_who_leaves_the_overflow_takes_along_what_was_counted_there(clock: Clock, crowd: list[str]) -> None:
    """Else an account that finds a place in the middle of a minute would have its limits twice."""
    board = PrivateBoard()
    limiter = Limiter(lambda: board, clock=clock)
    *clients, late = [client(name, requests_per_minute=3, tokens_per_minute=50, concurrency=1)
                      for name in crowd[:REACH + 1]]
    for one in clients:
        limiter.admit(one)
    clock.now += 45
    limiter.admit(late)
    flying = limiter.reserve(late, 30)
    assert not places(board, [late])
    clock.now += 30  # nothing of the others counts any more
    assert limiter.remaining(late).requests == 2
    assert places(board, [late])
    assert refused(lambda: limiter.reserve(late, 1)).refused == "concurrency"
    flying.settle(30)
    assert refused(lambda: limiter.reserve(late, 21)).refused == "tokens_per_minute"
    limiter.reserve(late, 20).settle(20)
    clock.now += 61
    assert limiter.remaining(late).tokens == 50


def test_a_place_is_kept_while_something_is_in_flight_however_long(limiter: Limiter, clock: Clock,
                                                                   crowd: list[str]) -> None:
    slow, *others = [client(name, requests_per_minute=9, concurrency=1) for name in crowd[:REACH + 1]]
    flying = limiter.reserve(slow, 1)
    clock.now += 3600
    for one in others:
        limiter.admit(one)
    refused(lambda: limiter.reserve(slow, 1))
    flying.settle(1)
    limiter.reserve(slow, 1)


def test_a_place_is_kept_while_something_of_the_last_minute_counts(limiter: Limiter, clock: Clock,
                                                                   crowd: list[str]) -> None:
    *others, late = [client(name, requests_per_minute=1) for name in crowd[:REACH + 1]]
    for one in others:
        limiter.admit(one)
    clock.now += 60
    limiter.admit(late)
    for one in others:
        refused(lambda one=one: limiter.admit(one))  # type: ignore[misc]


def test_ten_thousand_accounts_in_a_minute_are_all_held_to_their_limits(limiter: Limiter) -> None:
    for number in range(10_000):
        one = client(str(number), requests_per_minute=1)
        try:
            limiter.admit(one)
        except LimitReached:  # by the overflow
            continue
        refused(lambda one=one: limiter.admit(one))  # type: ignore[misc]


def test_a_window_makes_sense_again_after_a_change_that_was_cut_short() -> None:
    words = memoryview(bytearray(8 * (WORDS + RING))).cast("q")
    window = Window(words, 0, ring=WORDS)
    for second in range(100, 160):
        window.add(second, 2)
    for broken in range(5):
        words[broken] += 3
    window.repair(165)
    assert window.total(165) == 2 * 55
    assert window.wait(165.5, 1) == math.ceil(105 + 61 - 165.5)
    window.repair(500)
    assert window.total(500) == 0


def test_boards_of_one_folder_hold_the_limits_together_and_survive_a_restart(folder: Path, clock: Clock) -> None:
    one, other = shared(folder, clock), shared(folder, clock)
    one.admit(WEB)
    second = other.admit(WEB)
    refused(lambda: one.admit(WEB))
    one.refund(WEB, second)
    other.admit(WEB)
    one.close()
    other.close()
    third = shared(folder, clock)
    refused(lambda: third.admit(WEB))
    third.close()


def test_the_shared_file_is_its_owners_alone(folder: Path, clock: Clock) -> None:
    limiter = shared(folder, clock)
    limiter.admit(WEB)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    taken = (folder / NAME).stat()
    assert taken.st_blocks * 512 >= taken.st_size  # no holes: a full disk would be a signal that ends us
    limiter.close()


def test_who_lets_the_board_go_leaves_nothing_in_flight(folder: Path, clock: Clock) -> None:
    ended, other = shared(folder, clock), shared(folder, clock)
    flying = ended.reserve(WEB, 40), ended.reserve(WEB, 40)
    refused(lambda: other.reserve(WEB, 10))
    ended.close()
    other.reserve(WEB, 10).settle(0)
    assert other.remaining(WEB).tokens == 20  # what was in flight may have been used: that counts
    for reservation in flying:
        reservation.settle(5)
    assert (other.remaining(WEB).tokens, other.remaining(WEB).slots) == (10, 2)
    ended.close()
    other.close()


def test_who_comes_after_a_dead_process_clears_what_it_left(folder: Path, clock: Clock) -> None:
    dead = shared(folder, clock)
    dead.reserve(WEB, 40), dead.reserve(WEB, 40)
    dead.close()
    heir = shared(folder, clock)
    assert (heir.remaining(WEB).slots, heir.remaining(WEB).tokens) == (2, 20)
    heir.close()


def spoilt_folder(folder: Path) -> None:
    folder.write_text("a file")


def a_link_in_place_of_the_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to(folder.parent / "elsewhere")


def a_link_in_place_of_the_file(folder: Path) -> None:
    folder.mkdir()
    (folder.parent / "precious").write_text("precious")
    (folder / NAME).symlink_to(folder.parent / "precious")


def a_pipe_in_place_of_the_file(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / NAME)


@pytest.mark.parametrize("spoil", [
    spoilt_folder, a_link_in_place_of_the_folder, a_link_in_place_of_the_file, a_pipe_in_place_of_the_file])
def test_a_board_that_cannot_be_used_refuses_everybody_says_so_once_and_recovers(
        folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]) -> None:
    spoil(folder)
    limiter = shared(folder, clock)
    for act in (limiter.admit, limiter.remaining, lambda client: limiter.reserve(client, 1)) * 2:
        with pytest.raises(StoreUnavailable):
            act(WEB)
    assert [entry.levelno for entry in caplog.records] == [logging.ERROR]
    folder.rename(folder.parent / "away")
    limiter.admit(WEB)
    assert [entry.levelno for entry in caplog.records] == [logging.ERROR, logging.WARNING]
    limiter.close()


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 20_000_000, bytes(20_000_000)])
def test_a_file_that_is_not_ours_is_made_so(folder: Path, clock: Clock, content: bytes) -> None:
    folder.mkdir()
    (folder / NAME).write_bytes(content)
    board = SharedBoard(folder)
    assert not any(board.words)
    board.close()
    limiter = shared(folder, clock)
    limiter.admit(WEB), limiter.admit(WEB)
    refused(lambda: limiter.admit(WEB))
    limiter.close()


def test_a_file_that_was_cut_or_removed_is_made_anew(folder: Path, clock: Clock) -> None:
    limiter = shared(folder, clock)
    limiter.admit(WEB)
    os.truncate(folder / NAME, 100)
    limiter.admit(WEB)
    (folder / NAME).unlink()
    limiter.admit(WEB)
    assert (folder / NAME).exists()
    limiter.close()


def test_what_is_settled_while_the_board_is_away_is_settled_when_it_is_back(folder: Path, clock: Clock) -> None:
    limiter, second = shared(folder, clock), 0
    flying, second = limiter.reserve(WEB, 60), limiter.admit(WEB)
    folder.rename(folder.parent / "away")
    folder.write_text("a file")
    flying.settle(50)
    limiter.refund(WEB, second)
    folder.unlink()
    (folder.parent / "away").rename(folder)
    standing = limiter.remaining(WEB)
    # What we held was left behind by the board that was lost, and counts as used; what was really used does too.
    assert (standing.requests, standing.tokens, standing.slots) == (2, 0, 2)
    clock.now += 61
    assert limiter.remaining(WEB).tokens == 100
    limiter.close()


def test_there_is_room_for_so_many_processes_and_no_more(folder: Path, clock: Clock) -> None:
    folder.mkdir()
    files = [os.open(folder / f"process-{process:03}", os.O_RDWR | os.O_CREAT) for process in range(PROCESSES)]
    for file in files:
        flock(file, LOCK_EX | LOCK_NB)
    limiter = shared(folder, clock)
    with pytest.raises(StoreUnavailable):
        limiter.admit(WEB)
    os.close(files[77])
    limiter.admit(WEB)
    limiter.close()
    for file in files[:77] + files[78:]:
        os.close(file)
