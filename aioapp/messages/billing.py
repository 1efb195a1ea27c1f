"""What Claude counts for an answer, and on what terms it bills that: all that is read from a message's `usage`.

What the fields mean: https://platform.claude.com/docs/en/about-claude/pricing, and of `iterations`
https://platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool,
https://platform.claude.com/docs/en/build-with-claude/compaction and
https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback.
"""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""The four counts of tokens, in the order of every table here."""
BESIDE_TOTALS = ("compaction", "advisor_message")
"""Iterations that the totals leave out. No set: what is looked for in it may be anything that JSON can say."""
MOST_ITERATIONS = 1000
"""Iterations of one answer that are looked at; what the totals count beyond them is billed too."""


class Iteration(NamedTuple):
    """One of the runs of a model that made an answer, which is billed by itself.

    `model` is the one that ran, None where that is the model that answered.
    """

    model: str | None
    usage: "Usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Billing:
    """What the price depends on beside the four counts.

    `hour` of the tokens that were written to the cache are kept for an hour, the others for five minutes. `searches`
    are searches of the web. `us` says that Claude was kept to the United States. Where there are `iterations`, they
    are billed in the place of the counts.
    """

    hour: int = 0
    searches: int = 0
    fast: bool = False
    us: bool = False
    batch: bool = False
    iterations: tuple[Iteration, ...] = ()


STANDARD = Billing()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as Claude counted them. `input_tokens` leaves out what was written to or read from Claude's cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    billing: Billing = field(default=STANDARD, kw_only=True)

    @classmethod
    def of(cls, usage: object) -> "Usage":
        """What a message's `usage` says; what is no sane number counts as none."""
        if not isinstance(usage, dict):
            return cls()
        counts = cls(*[
            count if type(count) is int and 0 <= count < 2**40 else 0 for count in map(usage.get, COUNTS)])
        return counts if is_standard(usage) else with_billing(counts, usage)

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens + self.cache_creation_input_tokens + self.cache_read_input_tokens

    def plus(self, guess: "Usage") -> "Usage":
        """With input and output that Claude has not counted, on the same terms."""
        billing = self.billing
        if billing.iterations:
            terms = replace(billing, hour=0, searches=0, iterations=())
            guessed = Iteration(None, replace(guess, billing=terms))
            billing = replace(billing, iterations=(*billing.iterations, guessed))
        return replace(self, input_tokens=self.input_tokens + guess.input_tokens,
                       output_tokens=self.output_tokens + guess.output_tokens, billing=billing)


def is_standard(said: Mapping[str, Any]) -> bool:
    """Whether the counts say all. Most often they do, so nothing is called here that is written in Python."""
    get = said.get
    split, tools = get("cache_creation"), get("server_tool_use")
    return not (get("speed") == "fast" or get("inference_geo") == "us" or get("service_tier") == "batch"
                or get("iterations") or (type(split) is dict and any(split.values()))
                or (type(tools) is dict and any(tools.values())))


def with_billing(counts: Usage, said: Mapping[str, Any]) -> Usage:
    """The counts with what `said` tells beside them."""
    short, hour = (count_in(said.get("cache_creation"), f"ephemeral_{kept}_input_tokens") for kept in ("5m", "1h"))
    # The sum may be missing; and it grows in a stream, while the split stays that of its begin.
    written = max(counts.cache_creation_input_tokens, short + hour)
    billing = Billing(
        hour=hour, searches=count_in(said.get("server_tool_use"), "web_search_requests"),
        fast=said.get("speed") == "fast", us=said.get("inference_geo") == "us",
        batch=said.get("service_tier") == "batch")
    usage = Usage(
        counts.input_tokens, counts.output_tokens, written, counts.cache_read_input_tokens, billing=billing)
    iterations = () if is_one_run(said) else billed(usage, said)
    return replace(usage, billing=replace(billing, iterations=iterations)) if iterations else usage


def is_one_run(said: Mapping[str, Any]) -> bool:
    """Whether there is no iteration but one, of the model that answers, which says what the totals say: so it is in
    nearly every answer to Claude Code."""
    match said.get("iterations"):
        case [{"type": "message", **entry}] if entry.get("model") is None:
            return all(entry.get(name) == said.get(name) for name in (*COUNTS, "cache_creation"))
    return not said.get("iterations")


def billed(totals: Usage, said: Mapping[str, Any]) -> tuple[Iteration, ...]:
    """The iterations that are billed, and as one more what the totals count beyond them; none where none make sense."""
    told = said.get("iterations")
    sound = [entry for entry in told[:MOST_ITERATIONS] if is_iteration(entry)] if isinstance(told, list) else []
    if not sound:
        return ()
    every = [(entry.get("type"), iteration(entry, said)) for entry in sound]
    # Where another model stepped in, those that declined before they had written anything take nothing for it.
    fell_back = any(kind == "fallback_message" for kind, _ in every)
    found = [each for kind, each in every if not (fell_back and kind == "message" and not each.usage.output_tokens)]
    rest = beyond(totals, [each.usage for kind, each in every if kind not in BESIDE_TOTALS])
    return (*found, Iteration(None, rest)) if rest.total else tuple(found)


def is_iteration(entry: object) -> bool:
    return isinstance(entry, dict) and any(type(entry.get(name)) is int for name in COUNTS)


def iteration(entry: Mapping[str, Any], said: Mapping[str, Any]) -> Iteration:
    """On the terms of the whole answer: where an advisor is billed without them, this is too dear, never too cheap."""
    terms = {name: said.get(name) for name in ("speed", "inference_geo", "service_tier")}
    own = {name: value for name, value in entry.items() if value is not None}
    model = entry.get("model")
    return Iteration(model if isinstance(model, str) and model else None,
                     Usage.of({**terms, **own, "iterations": None, "server_tool_use": None}))


def beyond(totals: Usage, parts: Iterable[Usage]) -> Usage:
    """What the totals count and the parts do not: nothing, unless a part is missing or older than the totals."""
    counts, hour = [getattr(totals, name) for name in COUNTS], totals.billing.hour
    for part in parts:
        counts = [max(count - getattr(part, name), 0) for count, name in zip(counts, COUNTS)]
        hour = max(hour - part.billing.hour, 0)
    return Usage(*counts, billing=replace(totals.billing, hour=min(hour, counts[2]), searches=0))


def told(usage: Mapping[str, Any]) -> dict[str, Any]:
    """What a later `usage` of a stream says anew: null and a count that is no number leave what was said before."""
    return {name: value for name, value in usage.items()
            if (type(value) is int if name in COUNTS else value is not None)}


def count_in(group: object, name: str) -> int:
    """A count within an object, none where there is no sane one."""
    count = group.get(name) if isinstance(group, dict) else None
    return count if type(count) is int and 0 <= count < 2**40 else 0
