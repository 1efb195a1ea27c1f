"""What one process has in flight of an account: the truth of which its slot on the board is the copy."""
from operator import add
from typing import NamedTuple


class Share(NamedTuple):
    """Generations that run, tokens and nanodollars set aside for them, and nanodollars spent that are not yet written.
    """

    slots: int = 0
    tokens: int = 0
    held: int = 0
    unwritten: int = 0

    def plus(self, more: "Share") -> "Share":
        return tuple.__new__(Share, map(add, self, more))  # as `_make` does, less a call of ours


NOTHING = Share()
WIDTH = len(NOTHING)
