"""What is counted of one account: its requests and tokens of the last minute, what it spent, and what it has in flight.

What is in flight is kept once as sums and once for each process, so that what a process held that was killed can be
told from what the others hold.
"""
from collections.abc import Callable, Iterable

from aioapp.store.embedded.board import purse, window
from aioapp.store.embedded.board.faults import Damaged
from aioapp.store.embedded.board.purse import Purse
from aioapp.store.embedded.board.share import WIDTH, Share
from aioapp.store.embedded.board.window import SPAN, STEPS, Window

PROCESSES = 256
KEY, USED, LINKED, SLOTS, TOKENS_HELD = 0, 2, 3, 4, 5
"""Words: two of the key, the second after the last change's, whether the overflow's are to be added, and two of the
four sums, which are in the order of a `Share`. The purse begins with the two others."""
PURSE = TOKENS_HELD + 1
LATEST = PURSE + purse.LATEST
REQUESTS = PURSE + purse.SIZE
TOKENS = REQUESTS + window.WORDS
RINGS = TOKENS + window.WORDS
COLUMNS = RINGS + 2 * window.RING
SIZE = COLUMNS + WIDTH * PROCESSES
TURN, MOMENT, ANEW = -1, -2, -3
"""Words behind all accounts: whether somebody is changing them, the number of the last moment that has one, and the
second after the one in which somebody came here from a board that was lost."""

Key = tuple[int, int]
NOBODY: Key = (0, 0)
BLANK = memoryview(bytes(8 * (SIZE - USED))).cast("q")

Ended = Callable[[Iterable[int]], list[int]]
"""Which of these processes, given by their columns, have ended."""


class Account:
    """The account whose words begin `at` this place. `process_slot` is where this process keeps what it has in flight.

    `overflow` is the account that all share for whom there was no place: who comes from there was counted there.
    """

    __slots__ = ("_at", "_process_slot", "_overflow", "_words", "purse", "requests", "tokens")

    def __init__(self, words: memoryview, at: int, *, process_slot: int, overflow: "Account | None" = None) -> None:
        self._words = words
        self._at = at
        self._process_slot = at + COLUMNS + WIDTH * process_slot
        self._overflow = overflow
        self.purse = Purse(words, at + PURSE)
        self.requests = Window(words, at + REQUESTS, ring=at + RINGS)
        self.tokens = Window(words, at + TOKENS, ring=at + RINGS + window.RING)

    def is_of(self, key: Key) -> bool:
        return self._words[self._at] == key[0] and self._words[self._at + 1] == key[1]

    def is_idle(self, second: int) -> bool:
        """Whether nothing is lost when another account takes this place."""
        return self.is_past(second) and not any(self._words[self._at + SLOTS:self._at + SLOTS + WIDTH])

    def is_past(self, second: int) -> bool:
        """Whether nothing was counted in the last minute, or all of it before the machine started anew."""
        used = self._words[self._at + USED]
        return not used or not 0 <= second + 1 - used <= SPAN

    def check(self, key: Key | None = None) -> bool:
        """Whether it is that of `key`, if one is given. Raises `Damaged` where it is, and its words cannot be what was
        written here."""
        words = self._words[self._at:self._at + RINGS].tolist()
        if key is not None and (words[KEY], words[KEY + 1]) != key:
            return False
        _, _, head, length, total, _, _, head_2, length_2, total_2 = words[REQUESTS:]
        if (min(words[USED:]) < 0 or words[LATEST] > self._words[MOMENT]
                or head >= STEPS or length > STEPS or (total and not length)
                or head_2 >= STEPS or length_2 > STEPS or (total_2 and not length_2)):
            raise Damaged("a count is less than nothing, or beyond its bounds")
        return True

    def begin(self, key: Key, second: int) -> None:
        """Be the account of `key` from now on. What the overflow counts may be its own, so it counts here too."""
        words, at = self._words, self._at
        words[at + USED:at + SIZE] = BLANK
        words[at], words[at + 1], words[at + USED] = key[0], key[1], second + 1  # never NOBODY's: searches end there
        words[at + LATEST] = words[MOMENT]  # who looked into the database before may have missed some
        overflow = self._overflow
        if overflow is not None and not overflow.is_idle(second):
            words[at + REQUESTS:at + COLUMNS] = words[overflow._at + REQUESTS:overflow._at + COLUMNS]
            words[at + LINKED] = 1

    def in_flight(self) -> tuple[int, int]:
        """Slots, and the tokens that are held."""
        words, at = self._words, self._at
        slots, held = words[at + SLOTS], words[at + TOKENS_HELD]
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

    def put(self, second: int, share: Share) -> None:
        """This process has so much in flight now. To say it twice changes nothing."""
        words, cell, sums = self._words, self._process_slot, self._at + SLOTS
        words[self._at + USED] = second + 1
        for before, now in zip(words[cell:cell + WIDTH].tolist(), share):
            if before != now:
                words[cell] = now
                words[sums] += now - before
            cell += 1
            sums += 1

    def sweep(self, second: int, ended: Ended) -> None:
        """Free what processes held that have ended. Tokens count as used: Claude may have been at work."""
        cells = self._words[self._at + COLUMNS:self._at + SIZE].tolist()
        shares = zip(*(cells[kind::WIDTH] for kind in range(WIDTH)))
        for process_slot in ended([process_slot for process_slot, share in enumerate(shares) if any(share)]):
            self.bury(second, process_slot)
        self.add_up()
        if self._words[self._at + LINKED] and self._overflow is not None:
            self._overflow.sweep(second, ended)

    def bury(self, second: int, process_slot: int) -> None:
        """Take off what the process had in flight whose slot this was."""
        words, at = self._words, self._at
        cell = at + COLUMNS + WIDTH * process_slot
        share = Share(*words[cell:cell + WIDTH].tolist())
        self.purse.lose(max(0, share.unwritten))
        for step, amount in enumerate(share):
            words[cell + step] = 0
            words[at + SLOTS + step] -= amount
        self.count_tokens(second, share.tokens)

    def add_up(self) -> None:
        """Make the sums right again."""
        words, at = self._words, self._at
        cells = words[at + COLUMNS:at + SIZE].tolist()
        for kind in range(WIDTH):
            words[at + SLOTS + kind] = sum(cells[kind::WIDTH])

    def repair(self, second: int) -> None:
        """Make sense of the words again after whoever changed them was killed in the middle of it."""
        self.add_up()
        self.requests.repair(second)
        self.tokens.repair(second)
