"""Several processes, real ones, that hold one client's limits together; and what the others see when one is killed."""
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

from aioapp.callers import Caller, Limits
from aioapp.errors import LimitReached, StoreUnavailable
from aioapp.store.embedded.limiter import Limiter
from aioapp.store.embedded.board.board import open_board
from aioapp.store.embedded.board.account import COLUMNS, SIZE, SLOTS
from aioapp.store.embedded.board.share import WIDTH

PATIENCE = 20.0
BEGINNING = """
import os, signal, sys, time
from pathlib import Path
from aioapp.callers import Caller, Limits
from aioapp.errors import LimitReached, StoreUnavailable
from aioapp.store.embedded.limiter import Limiter
from aioapp.store.embedded.board.board import open_board
from aioapp.store.embedded.board.account import REQUESTS, SLOTS, TOKENS_HELD
from aioapp.store.embedded.board.share import Share
from aioapp.store.embedded.board.directory import Directory
from aioapp.store.embedded.board.window import HEAD, LENGTH, TOTAL
folder = Path(sys.argv[1])
def client(**limits): return Caller(name="web", known=True, limits=Limits(**limits))
def say(*words): print(*words, flush=True)
limiter = Limiter(lambda: open_board(folder))
"""
Start = Callable[[str], "subprocess.Popen[str]"]


def client(**limits: int) -> Caller:
    return Caller(name="web", known=True, limits=Limits(**limits))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "limits"


@pytest.fixture
def limiter(folder: Path) -> Iterator[Limiter]:
    limiter = Limiter(lambda: open_board(folder))
    yield limiter
    limiter.close()


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start a process that runs a script; it is killed in the end if it still runs."""
    with ExitStack() as stack:
        def start(script: str) -> "subprocess.Popen[str]":
            process = stack.enter_context(subprocess.Popen(
                [sys.executable, "-c", BEGINNING + script, str(folder)], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            return process

        yield start


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def together(start: Start, number: int, script: str) -> list[str]:
    """What each of so many processes says that run the script from the same moment on."""
    processes = [start('say("ready")\nsys.stdin.readline()\n' + script) for _ in range(number)]
    assert [said(process) for process in processes] == ["ready"] * number
    for process in processes:
        go(process)
    return [said(process) for process in processes]


def killed(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait(PATIENCE)


def test_four_processes_that_hammer_one_account_admit_exactly_the_limit(start: Start, limiter: Limiter) -> None:
    """Refunds are mixed in: each of them makes room for one more, in whichever process."""
    counts = together(start, 4, """
limited, asked, admitted, refusals = client(requests_per_minute=500), 0, 0, 0
while refusals < 500:
    asked += 1
    try:
        second = limiter.admit(limited)
        if asked % 5:
            admitted += 1
        else:
            limiter.refund(limited, second)
    except LimitReached:
        refusals += 1
        time.sleep(0.0005)
say(admitted)
""")
    assert sum(int(count) for count in counts) == 500
    with pytest.raises(LimitReached):
        limiter.admit(client(requests_per_minute=500))


def test_four_processes_never_hold_more_tokens_or_slots_than_there_are(start: Start, limiter: Limiter) -> None:
    counts = together(start, 4, """
limited, used, refusals = client(tokens_per_minute=5_000, concurrency=3), 0, 0
while refusals < 500:
    try:
        limiter.reserve(limited, 9).settle(4)
        used += 4
    except LimitReached as refused:
        refusals += refused.refused == "tokens_per_minute" and refused.retry_after > 1
say(used)
""")
    standing = limiter.remaining(client(tokens_per_minute=5_000, concurrency=3))
    assert sum(int(count) for count in counts) == 5_000 - standing.tokens
    assert standing.tokens < 9 and standing.slots == 3


def test_processes_that_begin_at_once_find_one_board_and_each_its_own_column(start: Start) -> None:
    answers = together(start, 6, """
admitted = 0
try:
    while True:
        limiter.admit(client(requests_per_minute=50))
        admitted += 1
except LimitReached:
    say(limiter._turns._directory.board.process_slot, admitted)
sys.stdin.readline()
""")
    columns, counts = zip(*(answer.split() for answer in answers))
    assert len(set(columns)) == 6
    assert sum(int(count) for count in counts) == 50


def test_what_a_killed_process_held_is_free_for_the_others_at_once(start: Start, limiter: Limiter) -> None:
    limited = client(tokens_per_minute=100, concurrency=3)
    process = start("""
held = [limiter.reserve(client(tokens_per_minute=100, concurrency=3), 20) for _ in range(3)]
say("holding")
sys.stdin.readline()
""")
    assert said(process) == "holding"
    with pytest.raises(LimitReached):
        limiter.reserve(limited, 20)
    killed(process)
    flying = [limiter.reserve(limited, 10) for _ in range(3)]
    # Its slots are free; its tokens may have been used, so they count for their minute.
    assert (limiter.remaining(limited).tokens, limiter.remaining(limited).slots) == (10, 0)
    for reservation in flying:
        reservation.settle(0)


def test_a_process_killed_in_the_middle_of_a_change_leaves_sums_that_are_right(start: Start, limiter: Limiter) -> None:
    limited = client(requests_per_minute=5, tokens_per_minute=100, concurrency=2)
    limiter.admit(limited)
    mine = limiter.reserve(limited, 10)
    process = start("""
table = Directory(open_board(folder), clock=time.monotonic)
with table as now:
    account = table.account("key:web", int(now))
    account.count_request(int(now))
    account.put(int(now), Share(1, 30))
    for word in (SLOTS, TOKENS_HELD, REQUESTS + HEAD, REQUESTS + LENGTH, REQUESTS + TOTAL):
        table.board.words[account._at + word] += 7
    os.kill(os.getpid(), signal.SIGKILL)
""")
    assert process.wait(PATIENCE) == -9
    standing = limiter.remaining(limited)
    assert (standing.requests, standing.tokens, standing.slots) == (3, 60, 0)
    limiter.reserve(limited, 60).settle(0)
    mine.settle(10)
    standing = limiter.remaining(limited)
    assert (standing.requests, standing.tokens, standing.slots) == (3, 60, 2)


def test_processes_killed_at_any_moment_leak_nothing(start: Start, limiter: Limiter, folder: Path) -> None:
    limited = client(requests_per_minute=10**9, tokens_per_minute=10**12, concurrency=2)
    for number in range(12):
        process = start("""
limited = client(requests_per_minute=10**9, tokens_per_minute=10**12, concurrency=2)
say("ready")
while True:
    limiter.admit(limited)
    held = [limiter.reserve(limited, 10), limiter.reserve(limited, 20)]
    for one in held:
        one.settle(5)
""")
        assert said(process) == "ready"
        sleep(0.01 + number * 0.0013)
        killed(process)
        for reservation in [limiter.reserve(limited, 10), limiter.reserve(limited, 20)]:
            reservation.settle(0)
        assert limiter.remaining(limited).slots == 2
    board = open_board(folder)
    for word in (*range(SLOTS, SLOTS + WIDTH), *range(COLUMNS, SIZE)):
        assert not any(board.words[word::SIZE].tolist())
    board.close()


def test_a_process_that_stands_still_in_its_turn_does_not_stop_the_others(start: Start, limiter: Limiter) -> None:
    limited = client(requests_per_minute=5, concurrency=2)
    ending, flying = limiter.reserve(limited, 1), limiter.reserve(limited, 1)
    process = start("""
with open_board(folder):
    say("in turn")
    sys.stdin.readline()
say("done")
sys.stdin.readline()
""")
    assert said(process) == "in turn"
    began = monotonic()
    with pytest.raises(StoreUnavailable):
        limiter.admit(limited)
    assert monotonic() - began < 2
    ending.settle(1)
    go(process)
    assert said(process) == "done"
    assert limiter.remaining(limited).slots == 1  # what is in flight is still known: the board was not given up
    flying.settle(1)
    assert limiter.remaining(limited).slots == 2


def test_a_full_disk_is_told_and_recovered_from(start: Start) -> None:
    process = start("""
import resource
limited = client(requests_per_minute=1)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
try:
    limiter.admit(limited)
except StoreUnavailable:
    say("unavailable")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
say(limiter.admit(limited) > 0)
""")
    assert said(process) == "unavailable"
    assert said(process) == "True"
