"""How much was counted in the last minute: a sum for each second in which something was, and the sum of them all.

The second that runs and the 60 before it are counted. So whatever was counted stays for at least 60 seconds and less
than 61, and no interval of 60 seconds, wherever it begins, holds more than what the window ever held at once. The sums
lie in a ring, oldest first; every one of them is added once and dropped once, so nothing here takes longer where more
is counted.
"""
from math import ceil

SPAN = 60
"""Seconds before the one that runs that are counted too."""
STEPS = 64
"""Places in the ring. 61 would do."""
FIRST, LAST, HEAD, LENGTH, TOTAL = range(5)
"""Words: the first and the last second in the ring, the place of the first, how many there are, and their sum."""
WORDS = TOTAL + 1
RING = 2 * STEPS
BLANK = memoryview(bytes(8 * RING)).cast("q")


class Window:
    """The window whose words begin `at` this place, and its ring at `ring`. Seconds are of a clock that goes on only.

    If it does go back, because the machine has started anew, nothing that was counted is of the last minute.
    """

    __slots__ = ("_at", "_ring", "_words")

    def __init__(self, words: memoryview, at: int, *, ring: int) -> None:
        self._words = words
        self._at = at
        self._ring = ring

    def total(self, second: int) -> int:
        """What is counted in `second`, after which nothing older is."""
        words, at = self._words, self._at
        if words[at + LENGTH] and not second - SPAN <= words[at + FIRST] <= words[at + LAST] <= second:
            self._drop(second)
        return words[at + TOTAL]

    def add(self, second: int, amount: int) -> None:
        words, at = self._words, self._at
        if not second - SPAN <= words[at + FIRST] <= words[at + LAST] <= second:
            self.total(second)  # lets go of what is over
        length, head = words[at + LENGTH], words[at + HEAD]
        if length and words[at + LAST] == second:
            words[self._ring + 2 * ((head + length - 1) % STEPS) + 1] += amount
        else:
            place = self._ring + 2 * ((head + length) % STEPS)
            words[place], words[place + 1] = second, amount
            words[at + LAST] = second
            if not length:
                words[at + FIRST] = second
            words[at + LENGTH] = length + 1
        words[at + TOTAL] += amount

    def take(self, second: int, amount: int) -> None:
        """Take out again what was added in `second`, if it is still counted."""
        words, at = self._words, self._at
        for step in reversed(range(words[at + LENGTH])):
            place = self._ring + 2 * ((words[at + HEAD] + step) % STEPS)
            if words[place] == second:
                taken = min(amount, words[place + 1])
                words[place + 1] -= taken
                words[at + TOTAL] -= taken
                return

    def wait(self, now: float, amount: int) -> int | None:
        """Whole seconds, one at least, until `amount` of the total will have left. None: so much is not counted.

        It is never more than the window's own: what was counted just now may then stay for less than a second more.
        Clients take no longer one in earnest (Anthropic's SDKs come back at once).
        """
        words, at = self._words, self._at
        head = words[at + HEAD]
        for step in range(words[at + LENGTH]):
            place = self._ring + 2 * ((head + step) % STEPS)
            amount -= words[place + 1]
            if amount <= 0:
                return min(SPAN, max(1, ceil(words[place] + SPAN + 1 - now)))
        return None

    def repair(self, second: int) -> None:
        """Make sense of the words again after whoever changed them was killed in the middle of it."""
        ring = self._words[self._ring:self._ring + RING].tolist()
        sums = {when: amount for when, amount in zip(ring[::2], ring[1::2]) if second - SPAN <= when <= second}
        self.clear()
        for when in sorted(sums):
            self.add(when, sums[when])

    def clear(self) -> None:
        words, at, ring = self._words, self._at, self._ring
        words[at:at + WORDS] = BLANK[:WORDS]
        words[ring:ring + RING] = BLANK

    def _drop(self, second: int) -> None:
        words, at = self._words, self._at
        if words[at + LAST] > second:
            self.clear()
            return
        head, length, total = words[at + HEAD], words[at + LENGTH], words[at + TOTAL]
        while length and words[self._ring + 2 * head] < second - SPAN:
            total -= words[self._ring + 2 * head + 1]
            head, length = (head + 1) % STEPS, length - 1
        first, total = (words[self._ring + 2 * head], total) if length else (0, 0)
        words[at + HEAD], words[at + LENGTH], words[at + TOTAL], words[at + FIRST] = head, length, total, first
        if first > second:
            self.clear()
