"""Locks on whole files, which the kernel takes back from a process that ends. Windows has none of this kind."""
import errno
import time
from fcntl import LOCK_EX, LOCK_NB, flock

PATIENCE = 0.25
"""Seconds to wait for a process that is slow to let go: a turn takes microseconds."""
PAUSE = 0.0001


def lock(file: int, *, patience: float = PATIENCE) -> None:
    """Take the lock. The wait is bounded, for a process that was stopped in its turn must not stop all others.

    Raises `TimeoutError`.
    """
    if locked(file):
        return
    until = time.monotonic() + patience
    while not locked(file):
        if time.monotonic() >= until:
            raise TimeoutError(errno.ETIMEDOUT, "another process does not let go of the lock")
        time.sleep(PAUSE)


def locked(file: int) -> bool:
    """Whether the lock was free, and is now ours."""
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True
