"""What is known and not yet written: added up by day, key and model, and the latest generations one by one.

What callers and Claude say is made fit for the store: one value that it cannot hold would keep all others out.
"""
from collections import Counter, deque
from collections.abc import Iterator
from itertools import chain
from operator import add
from sqlite3 import Connection

from aioapp.generation import Record
from aioapp.messages.events import Usage

KEPT = 10_000
"""Generations that are kept one by one."""

Group = tuple[str, str, str]
"""Day, key, model."""
Sums = tuple[float, ...]
"""Requests, failed, cancelled, tokens by kind (four), nanodollars, seconds: whole numbers but for the last."""
NANODOLLARS = -2

COLUMNS = ("requests", "failed", "cancelled", "input_tokens", "output_tokens", "cache_creation_input_tokens",
           "cache_read_input_tokens", "nanodollars", "seconds")
ADD_UP = (f"INSERT INTO usage (day, key, model, {', '.join(COLUMNS)}) VALUES ({', '.join('?' * (3 + len(COLUMNS)))}) "
          f"ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in COLUMNS)}")
INSERT = ("INSERT INTO requests (at, request_id, key, model, outcome, error, stop_reason, input_tokens, output_tokens, "
          "cache_creation_input_tokens, cache_read_input_tokens, nanodollars, first, seconds, prompt) "
          f"VALUES ({', '.join('?' * 15)})")
PRUNE = f"DELETE FROM requests WHERE number <= (SELECT max(number) FROM requests) - {KEPT}"


class Pending:
    """Bounded: sums are few, and of single generations only as many are held as the database keeps.

    `charged` is what of it was charged to budgets, in nanodollars, by account and day.
    """

    __slots__ = ("_requests", "_sums", "charged")

    def __init__(self) -> None:
        self._sums: dict[Group, Sums] = {}
        self._requests: deque[tuple[object, ...]] = deque(maxlen=KEPT)
        self.charged: Counter[tuple[str, str]] = Counter()

    def __bool__(self) -> bool:
        return bool(self._sums)

    def __len__(self) -> int:
        """How many generations it holds."""
        return int(sum(sums[0] for sums in self._sums.values()))

    def add(self, record: Record, *, at: str, model: str, prompt: str | None) -> int:
        """Take one generation in, which ended at `at` and is added up under `model`. Gives its nanodollars."""
        cost, counts = bounded(record.nanodollars, most=MOST_NANODOLLARS), tokens(record.usage)
        key = record.call.caller.key or ""
        self._requests.append((
            at, plain(record.call.request_id), key, plain(record.model or record.call.prompt.model or ""),
            record.outcome, plain_or_none(record.error), plain_or_none(record.stop_reason), *counts, cost,
            record.first, record.duration, prompt))
        self._count((at[:10], key, model), (
            1, record.outcome == "failed", record.outcome == "cancelled", *counts, cost, record.duration))
        if record.call.caller.budget is not None:
            self.charged[record.call.caller.account, at[:10]] += cost
        return cost

    def follow(self, newer: "Pending") -> None:
        """Take in what came after."""
        for group, sums in newer._sums.items():
            self._count(group, sums)
        self._requests.extend(newer._requests)
        self.charged.update(newer.charged)

    def spent(self) -> Iterator[tuple[str, str, int]]:
        """Day, key and nanodollars, once or more for each."""
        for (day, key, _), sums in self._sums.items():
            yield day, key, int(sums[NANODOLLARS])

    def write(self, connection: Connection) -> None:
        connection.executemany(ADD_UP, (tuple(chain(group, sums)) for group, sums in self._sums.items()))
        connection.executemany(INSERT, self._requests)
        connection.execute(PRUNE)

    def _count(self, group: Group, sums: Sums) -> None:
        before = self._sums.get(group)
        self._sums[group] = sums if before is None else tuple(map(add, before, sums))


def plain_or_none(text: str | None) -> str | None:
    return None if text is None else plain(text)


LONGEST_NAME = 256
LONGEST_PROMPT = 10_000
MOST_TOKENS = 10**9
MOST_NANODOLLARS = 10**15
"""A million dollars. What is more than these is nonsense; thousands of such still add up to less than 2**63."""


def plain(text: object, *, most: int = LONGEST_NAME) -> str:
    """At most so many characters, and only such as UTF-8 can write."""
    return str(text)[:most].encode("utf-8", "replace").decode()


def tokens(usage: Usage) -> tuple[int, int, int, int]:
    """Input, output, cache written, cache read: the order of every table here."""
    counts = (usage.input_tokens, usage.output_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    return bounded(counts[0]), bounded(counts[1]), bounded(counts[2]), bounded(counts[3])


def bounded(count: int, *, most: int = MOST_TOKENS) -> int:
    return int(min(max(count, 0), most))


OTHER = "other"
MOST = 256
"""Names kept. Claude has far fewer models; a gateway in its place may answer under any name it is asked for."""


class Names:
    """Usage is kept under the model that answered. A call that none answered is kept under the one that answered last
    where the same was asked for, if there was one since the process began. All else is kept as "other"."""

    __slots__ = ("_answered", "_known")

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._answered: dict[str, str] = {}

    def kept(self, record: Record) -> str:
        asked = record.call.prompt.model or ""
        if record.model is None:
            return self._answered.get(asked, OTHER)
        name = plain(record.model)
        if name not in self._known:
            if len(self._known) >= MOST:
                return OTHER
            self._known.add(name)
        if asked in self._answered or len(self._answered) < MOST:
            self._answered[asked] = name
        return name
