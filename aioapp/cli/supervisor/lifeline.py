"""What ties a worker to its supervisor: a pair of connected sockets, of which each holds one.

The worker's event loop writes a byte now and then. A process that stands still and a loop that blocks write none, which
is how they are found out. When the supervisor ends, however that ends, its socket closes, and the worker ends too.
"""
import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

BEAT = 0.5
"""Seconds from one sign of life to the next, and from one look for them to the next."""


@contextmanager
def lifeline() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The supervisor's end, from which reading never waits, and the worker's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


async def silence(ours: socket.socket, timeout: float, *, sleep: Callable[[float], Awaitable[object]]) -> None:
    """Return once a worker has given no sign of life for `timeout` seconds.

    They are counted in looks, not by a clock. However late a look of ours is, because we or the whole machine stood
    still, it is one look: nobody has been silent for as long as we could not hear.
    """
    silent = 0.0
    while silent < timeout:
        await sleep(BEAT)
        silent = 0.0 if lives(ours) else silent + BEAT


def lives(ours: socket.socket) -> bool:
    """Whether the worker has written since the last look. What it may write unread, the system bounds."""
    try:
        return bool(ours.recv(2**16))
    except (BlockingIOError, ConnectionError):
        return False


def follow(theirs: int, *, every: float = BEAT) -> None:
    """Be a worker on this end of a lifeline: give signs of life, and take the end of the supervisor as a SIGTERM."""
    loop = asyncio.get_running_loop()
    os.set_blocking(theirs, False)

    def beat() -> None:
        with suppress(BlockingIOError, ConnectionError):  # the supervisor stands still, or is gone, which ends us below
            os.write(theirs, b".")
        loop.call_later(every, beat)

    def end() -> None:
        loop.remove_reader(theirs)
        signal.raise_signal(signal.SIGTERM)  # where we end already it is the second one, which ends that at once

    loop.add_reader(theirs, end)
    beat()
