"""What ties a worker to its supervisor: a pair of connected sockets, of which each holds one.

The worker's event loop writes a byte now and then, and another one when it begins to serve. A process that stands still
and a loop that blocks write none, which is how they are found out. A byte from the supervisor has the worker retire.
When the supervisor ends, however that ends, its socket closes, and the worker ends too.
"""
import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

ALIVE, READY, RETIRE = b".", b"!", b"r"
BEAT = 0.5
"""Seconds from one sign of life to the next, and from one look for them to the next."""


@contextmanager
def lifeline() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The supervisor's end, from which reading never waits, and the worker's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


async def silence(
        ours: socket.socket, timeout: float, *, sleep: Callable[[float], Awaitable[object]],
        ready: Callable[[], None] = lambda: None,
) -> None:
    """Return once a worker has given no sign of life for `timeout` seconds; `ready` is called when it serves.

    They are counted in looks, not by a clock. However late a look of ours is, because we or the whole machine stood
    still, it is one look: nobody has been silent for as long as we could not hear.
    """
    silent = 0.0
    while silent < timeout:
        await sleep(BEAT)
        said = heard(ours)
        if READY in said:
            ready()
        silent = 0.0 if said else silent + BEAT


def heard(ours: socket.socket) -> bytes:
    """What the worker has written since the last look. What it may write unread, the system bounds."""
    try:
        return ours.recv(2**16)
    except (BlockingIOError, ConnectionError):
        return b""


def write(end: int | socket.socket, byte: bytes) -> None:
    """Never waits. The other side may stand still, or be gone, of which one learns by reading."""
    with suppress(BlockingIOError, ConnectionError):
        os.write(end if isinstance(end, int) else end.fileno(), byte)


def follow(theirs: int, *, retire: Callable[[], None] = lambda: None, every: float = BEAT) -> None:
    """Be a worker on this end of a lifeline: give signs of life, and take the end of the supervisor as a SIGTERM.

    `retire` is called when it is time to.
    """
    loop = asyncio.get_running_loop()
    os.set_blocking(theirs, False)

    def beat() -> None:
        write(theirs, ALIVE)
        loop.call_later(every, beat)

    def listen() -> None:
        try:
            said = os.read(theirs, 64)
        except BlockingIOError:
            return
        except ConnectionError:
            said = b""
        if said:
            retire()
        else:
            loop.remove_reader(theirs)
            signal.raise_signal(signal.SIGTERM)  # where we end already it is the second one, which ends that at once

    loop.add_reader(theirs, listen)
    beat()
