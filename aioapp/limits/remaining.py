"""What is left of a caller's limits."""
from typing import NamedTuple

from aioapp.callers import UNLIMITED, Limits


class Remaining(NamedTuple):
    """What is left of each limit that `limits` has, and in how many seconds there is more of it.

    `requests_in` is 60 where nothing was used. `tokens_in` is None where nobody knows: all that was used is in flight.
    A slot is free again when a generation ends, so there is no such number for them.
    """

    limits: Limits = UNLIMITED
    requests: int = 0
    requests_in: int = 60
    tokens: int = 0
    tokens_in: int | None = 60
    slots: int = 0
