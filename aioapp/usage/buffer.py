"""What is known and not yet written: added up by day, key and model, and the latest generations one by one.

What callers and Claude say is made fit for the store: one value that it cannot hold would keep all others out.
"""
from collections import Counter, deque
from collections.abc import Iterator
from operator import add
from typing import NamedTuple

from aioapp.errors import Reason
from aioapp.generation import Generation, Transport
from aioapp.messages.events import Usage
from aioapp.money import MOST_NANODOLLARS

KEPT = 10_000
"""Generations that are kept one by one, unless it is set otherwise, and as many as wait to be written."""
REFUSALS_KEPT = 1000
"""Refusals that are kept one by one: apart, so that they push no generation out."""

Group = tuple[str, str, str]
"""Day, key, and model or reason."""
Sums = tuple[float, ...]
"""Requests, failed, cancelled, tokens by kind (four), nanodollars, seconds: whole numbers but for the last."""
NANODOLLARS = -2


class Refusal(NamedTuple):
    """A request that was refused for its key's own terms.

    `key` is empty for a caller without one, `model` where none was asked for by then; `status` is that of HTTP.
    """

    key: str
    reason: Reason
    status: int
    request_id: str
    model: str
    transport: Transport


class Pending:
    """Bounded: sums are few, and of single generations and refusals only as many are held as the database keeps.

    `sums` are by day, key and model, `requests` the latest generations, each in the order of the table that keeps them;
    `charged` is what of it was charged to budgets, in nanodollars, by account and day. `refusals` are how many there
    were and when the last was, by day, key and reason, `refused` the latest of them.
    """

    __slots__ = ("charged", "refusals", "refused", "requests", "sums")

    def __init__(self) -> None:
        self.sums: dict[Group, Sums] = {}
        self.requests: deque[tuple[object, ...]] = deque(maxlen=KEPT)
        self.charged: Counter[tuple[str, str]] = Counter()
        self.refusals: dict[Group, tuple[int, str]] = {}
        self.refused: deque[tuple[object, ...]] = deque(maxlen=REFUSALS_KEPT)

    def __bool__(self) -> bool:
        return bool(self.sums or self.refusals)

    def __len__(self) -> int:
        """How many generations it holds."""
        return int(sum(sums[0] for sums in self.sums.values()))

    def add(self, generation: Generation, *, at: str, model: str, prompt: str | None) -> int:
        """Take one generation in, which ended at `at` and is added up under `model`. Gives its nanodollars."""
        caller, outcome = generation.admission.caller, generation.outcome
        cost, counts = bounded(generation.nanodollars, most=MOST_NANODOLLARS), tokens(generation.usage)
        key, error, reason = caller.key or "", generation.error, generation.answer.stop_reason
        self.requests.append((
            at, plain(generation.admission.request_id), key, plain(generation.model or generation.asked_for),
            outcome, None if error is None else plain(error), None if reason is None else plain(reason), *counts, cost,
            generation.first, generation.duration, prompt, generation.status, generation.transport))
        self._count((at[:10], key, model), (
            1, outcome == "failed", outcome == "cancelled", *counts, cost, generation.duration))
        if caller.budget is not None:
            self.charged[caller.account, at[:10]] += cost
        return cost

    def refuse(self, refusal: Refusal, *, at: str) -> None:
        """Take one refusal in, which was at `at`."""
        key, reason = refusal.key, refusal.reason
        self.refused.append((at, plain(refusal.request_id), key, plain(refusal.model), reason, refusal.status,
                             refusal.transport))
        self._count_refusals((at[:10], key, reason), 1, at=at)

    def follow(self, newer: "Pending") -> None:
        """Take in what came after."""
        for group, sums in newer.sums.items():
            self._count(group, sums)
        self.requests.extend(newer.requests)
        self.charged.update(newer.charged)
        self.refused.extend(newer.refused)
        for group, (count, at) in newer.refusals.items():
            self._count_refusals(group, count, at=at)

    def spent(self) -> Iterator[tuple[str, str, int]]:
        """Day, key and nanodollars, once or more for each."""
        for (day, key, _), sums in self.sums.items():
            yield day, key, int(sums[NANODOLLARS])

    def _count(self, group: Group, sums: Sums) -> None:
        before = self.sums.get(group)
        self.sums[group] = sums if before is None else tuple(map(add, before, sums))

    def _count_refusals(self, group: Group, count: int, *, at: str) -> None:
        before, _ = self.refusals.get(group, (0, at))
        self.refusals[group] = before + count, at


LONGEST_NAME = 256
LONGEST_PROMPT = 10_000
MOST_TOKENS = 10**9


def plain(text: object, *, most: int = LONGEST_NAME) -> str:
    """At most so many characters, and only such as UTF-8 can write."""
    if type(text) is str and len(text) <= most and text.isascii():
        return text
    return str(text)[:most].encode("utf-8", "replace").decode()


def tokens(usage: Usage) -> tuple[int, int, int, int]:
    """Input, output, cache written, cache read: the order of every table here."""
    counts = (usage.input_tokens, usage.output_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    if 0 <= min(counts) and max(counts) <= MOST_TOKENS:  # as in every sane answer
        return counts
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

    def kept(self, generation: Generation) -> str:
        asked, model = generation.asked_for, generation.model
        if model is None:
            return self._answered.get(asked, OTHER)
        name = plain(model)
        if name not in self._known:
            if len(self._known) >= MOST:
                return OTHER
            self._known.add(name)
        if asked in self._answered or len(self._answered) < MOST:
            self._answered[asked] = name
        return name
