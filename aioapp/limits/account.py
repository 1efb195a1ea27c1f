"""What is counted of one account: its requests and tokens of the last minute, and what it has in flight.

In flight are slots (generations that run) and the tokens held for them. They are kept once as sums and once for each
process, so that what a process held that was killed can be told from what the others hold.
"""
from collections.abc import Callable, Iterable

from aioapp.limits.window import SIZE as WINDOW
from aioapp.limits.window import SPAN, Window

PROCESSES = 256
KEY, USED, SLOTS, HELD, LINKED, REQUESTS = 0, 2, 3, 4, 5, 6
"""Words: two of the key, the second after the last change's, two sums, and whether the overflow's are to be added."""
TOKENS = REQUESTS + WINDOW
COLUMNS = TOKENS + WINDOW
SIZE = COLUMNS + 2 * PROCESSES

Key = tuple[int, int]
NOBODY: Key = (0, 0)
BLANK = memoryview(bytes(8 * (SIZE - USED))).cast("q")

Ended = Callable[[Iterable[int]], list[int]]
"""Which of these processes, given by their columns, have ended."""


class Account:
    """The account whose words begin `at` this place. `column` is where this process keeps what it has in flight.

    `overflow` is the account that all share for whom there was no place: who comes from there was counted there.
    """

    __slots__ = ("_at", "_column", "_overflow", "_words", "requests", "tokens")

    def __init__(self, words: memoryview, at: int, *, column: int, overflow: "Account | None" = None) -> None:
        self._words = words
        self._at = at
        self._column = at + COLUMNS + 2 * column
        self._overflow = overflow
        self.requests = Window(words, at + REQUESTS)
        self.tokens = Window(words, at + TOKENS)

    def is_of(self, key: Key) -> bool:
        return self._words[self._at] == key[0] and self._words[self._at + 1] == key[1]

    def is_idle(self, second: int) -> bool:
        """Whether nothing is lost when another account takes this place."""
        return self.is_past(second) and not self._words[self._at + SLOTS]

    def is_past(self, second: int) -> bool:
        """Whether nothing was counted in the last minute, or all of it before the machine started anew."""
        used = self._words[self._at + USED]
        return not used or not 0 <= second + 1 - used <= SPAN

    def begin(self, key: Key, second: int) -> None:
        """Be the account of `key` from now on. What the overflow counts may be its own, so it counts here too."""
        words, at = self._words, self._at
        words[at + USED:at + SIZE] = BLANK
        words[at], words[at + 1], words[at + USED] = key[0], key[1], second + 1  # never NOBODY's: searches end there
        overflow = self._overflow
        if overflow is not None and not overflow.is_idle(second):
            words[at + REQUESTS:at + COLUMNS] = words[overflow._at + REQUESTS:overflow._at + COLUMNS]
            words[at + LINKED] = 1

    def in_flight(self) -> tuple[int, int]:
        """Slots, and the tokens that are held."""
        words, at = self._words, self._at
        slots, held = words[at + SLOTS], words[at + HELD]
        if words[at + LINKED] and self._overflow is not None:
            more, tokens = self._overflow.in_flight()
            words[at + LINKED] = more > 0
            return slots + more, held + tokens
        return slots, held

    def count_request(self, second: int) -> None:
        self._words[self._at + USED] = second + 1
        self.requests.add(second, 1)

    def count_tokens(self, second: int, tokens: int) -> None:
        if tokens > 0:
            self._words[self._at + USED] = second + 1
            self.tokens.add(second, tokens)

    def hold(self, second: int, tokens: int) -> None:
        """Take a slot, and as many tokens."""
        words, at, column = self._words, self._at, self._column
        words[at + USED] = second + 1
        words[column] += 1  # the slot first, here, and last in `release`: it is what a killed process is searched for
        words[column + 1] += tokens
        words[at + SLOTS] += 1
        words[at + HELD] += tokens

    def release(self, tokens: int) -> None:
        """Give back what was held."""
        words, at, column = self._words, self._at, self._column
        words[column + 1] -= tokens
        words[column] -= 1
        words[at + SLOTS] -= 1
        words[at + HELD] -= tokens

    def sweep(self, second: int, ended: Ended) -> None:
        """Free the slots of processes that have ended. What they held counts as used: Claude may have been at work."""
        slots = self._words[self._at + COLUMNS:self._at + SIZE:2].tolist()
        for column in ended([column for column in range(PROCESSES) if slots[column]]):
            self.bury(second, column)
        if self._words[self._at + LINKED] and self._overflow is not None:
            self._overflow.sweep(second, ended)

    def bury(self, second: int, column: int) -> None:
        """Take off what the process held that had this column."""
        words, at = self._words, self._at
        cell = at + COLUMNS + 2 * column
        slots, held = words[cell], words[cell + 1]
        words[cell + 1] = words[cell] = 0
        words[at + SLOTS] -= slots
        words[at + HELD] -= held
        self.count_tokens(second, held)

    def repair(self, second: int) -> None:
        """Make sense of the words again after whoever changed them was killed in the middle of it."""
        words, at = self._words, self._at
        words[at + SLOTS] = sum(words[at + COLUMNS:at + SIZE:2].tolist())
        words[at + HELD] = sum(words[at + COLUMNS + 1:at + SIZE:2].tolist())
        self.requests.repair(second)
        self.tokens.repair(second)
