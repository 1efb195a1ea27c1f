"""What is spent of one account's budget, as all processes count it together.

Spent is the sum of three amounts, in nanodollars. `written` is what the database holds: whoever has committed a write
moves its amount from `unwritten` to here, in one turn, so it is never counted as neither. `unwritten` is the sum of
what each process has charged and not yet committed. `lost` is what killed processes had charged by then.

The database is the truth, and may be changed by others: by hand, by a backup that is restored. So whoever has read it
says what it said, and as of when. Where something was moved since, or somebody read later, it corrects nothing.
Otherwise it holds `written` and, at most, all of `unwritten`, which may be committed and not yet moved: within that,
`written` is right, and where nothing is unwritten it is right exactly.
"""
from functools import lru_cache

from aioapp.errors import StoreUnavailable

HELD, UNWRITTEN, PERIOD, WRITTEN, LOST, LATEST = range(6)
"""Words: two sums of the processes' shares, the period that the rest is of, two amounts, and the moment they are of."""
SIZE = LATEST + 1
TOP = 2**62
"""More than any budget, and little enough that a word can hold two of it."""


class Stale(StoreUnavailable):
    """What the database is known to say is too old to begin with: read it again."""


class Purse:
    """The purse whose words begin `at` this place."""

    __slots__ = ("_at", "_words")

    def __init__(self, words: memoryview, at: int) -> None:
        self._words = words
        self._at = at

    @property
    def held(self) -> int:
        """What is set aside for generations that run."""
        return int(self._words[self._at + HELD])

    @property
    def taken(self) -> int:
        """What is spent or set aside."""
        words, at = self._words, self._at
        return int(words[at + WRITTEN] + words[at + UNWRITTEN] + words[at + LOST] + words[at + HELD])

    @property
    def spent(self) -> int:
        words, at = self._words, self._at
        return int(words[at + WRITTEN] + words[at + UNWRITTEN] + words[at + LOST])

    def learn(self, period: str, nanodollars: int, *, as_of: int) -> None:
        """The database said that so much was spent in this period, and it was read right after the moment `as_of`.

        Raises `Stale` where nothing is known of this period, and that is older than what is known of another.
        """
        words, at, tag, amount = self._words, self._at, tag_of(period), min(max(nanodollars, 0), TOP)
        fresh = as_of >= words[at + LATEST]
        if words[at + PERIOD] != tag:
            if not fresh:
                raise Stale("Try again in a moment.", retry_after=1)
            words[at + LOST], words[at + WRITTEN], words[at + PERIOD], words[at + LATEST] = 0, amount, tag, as_of
        elif fresh:
            self._correct(amount)
            words[at + LATEST] = as_of

    def wrote(self, nanodollars: int, *, day: str, moment: int) -> None:
        """So much of a day is in the database, this moment. `unwritten` gets less by it in the same turn."""
        words, at = self._words, self._at
        words[at + LATEST] = moment
        if words[at + PERIOD] in (tag_of(day), tag_of(day[:7])):
            words[at + WRITTEN] = min(words[at + WRITTEN] + nanodollars, TOP)

    def lose(self, nanodollars: int) -> None:
        """A process was killed that had charged so much and, as far as is known, not written it. It stays spent."""
        words, at = self._words, self._at
        words[at + LOST] = min(words[at + LOST] + nanodollars, TOP)

    def _correct(self, amount: int) -> None:
        words, at = self._words, self._at
        before = words[at + WRITTEN]
        after = min(max(before, amount - words[at + UNWRITTEN]), amount)
        if after != before:
            words[at + WRITTEN] = after
            # What appears without a word is first taken for what a process wrote just before it was killed.
            words[at + LOST] = max(0, words[at + LOST] - max(0, after - before))


@lru_cache(16)
def tag_of(period: str) -> int:
    """The day or month as a number: 20261123, 202611."""
    return int(period.replace("-", ""))
