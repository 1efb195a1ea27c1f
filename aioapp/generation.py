"""One pipeline: a call goes in, Claude's events come out, and layers stand between.

REST is a stream that was folded, SSE and WebSocket are one that was framed; nothing here knows which.
"""
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from time import perf_counter
from typing import Literal

from aioapp.callers import NOBODY, Caller
from aioapp.messages.events import Deltas, Event, Usage
from aioapp.messages.frames import Frames
from aioapp.messages.prompt import Prompt
from aioapp.messages.summary import TELLING, Summary

Outcome = Literal["completed", "cancelled", "failed"]

AROUND_TEXT = 80
"""Bytes of JSON around the text of a delta."""
BYTES_A_TOKEN = 3
"""How many bytes of text make a token, to guess by; of English it is nearer to 4."""
TOKENS_A_SECOND = 100
"""How fast Claude writes, to guess by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Made once, at the edge: who asks, under which request id, and the second in which the limits counted it."""

    caller: Caller = NOBODY
    request_id: str = ""
    counted: int = 0


NOWHERE = Admission()
NONE_GUESSED = Usage()


class Meter:
    """What Claude takes for a call: whether it was asked, the tokens it counts, and the seconds it is waited for.

    It looks only into the events that carry usage.
    """

    __slots__ = ("_guess", "_since", "_uncounted", "asked", "summary", "waited")

    def __init__(self) -> None:
        self._guess = NONE_GUESSED
        self._since: float | None = None
        self.summary = Summary()
        self._uncounted = 0
        self.asked = False
        self.waited = 0.0

    def ask(self) -> None:
        """A try begins: from now on Claude may take something for it."""
        self.asked, self._since = True, perf_counter()

    def reset(self) -> None:
        """Nothing is asked yet: the tries are told one by one. Whoever stands in for Claude tells of none."""
        self.asked, self._since = False, None

    def spare(self) -> None:
        """The try came to nothing, and Claude takes nothing for it: it was not reached, or has refused."""
        self._since = None

    def lose(self, call: "Call") -> None:
        """The try came to nothing, and Claude may have worked for it all the same.

        It may have read the prompt, and have written, ever since it was asked, what was to come in one piece.
        """
        if self._since is not None and not self.summary.begun:
            seconds, most = perf_counter() - self._since, call.prompt.max_tokens
            written = 0 if call.live else min(most, ceil(seconds * TOKENS_A_SECOND))
            self._guess = Usage(self._guess.input_tokens - (-call.prompt.size // BYTES_A_TOKEN),
                                self._guess.output_tokens + written)
        self._since = None

    def see(self, batch: "Batch") -> None:
        """Take events in. It looks and never judges: whoever makes a message of them finds what makes no sense."""
        uncounted = self._uncounted + (batch.written if type(batch) is Frames else 0)
        for event in batch:
            name, raw = event
            if name == "content_block_delta":
                size = len(raw) - AROUND_TEXT if type(event) is not Deltas else sum(map(len, event.texts))
                uncounted += size if size > 0 else 1
            elif name in TELLING:
                self.summary.add(event)
                if name != "message_start":
                    uncounted = 0
        self._uncounted = uncounted

    def cut(self, call: "Call", *, by_us: bool) -> None:
        """The answer ended before its end. What Claude had not counted by then is guessed, from the text that came.

        Where nothing came it is lost, if it was `by_us` that it was stopped. If it was Claude who failed, it takes
        nothing for that.
        """
        if self.summary.begun:
            if self._uncounted:
                left = max(0, call.prompt.max_tokens - self.summary.usage.output_tokens)
                written = min(left, -(-self._uncounted // BYTES_A_TOKEN))
                self._guess = replace(self._guess, output_tokens=self._guess.output_tokens + written)
        elif by_us:
            self.lose(call)

    @property
    def model(self) -> str | None:
        """The model that answers, None if none has begun to."""
        return self.summary.model

    @property
    def is_guess(self) -> bool:
        """Whether some of `usage` is guessed."""
        return self._guess is not NONE_GUESSED and self._guess.total > 0

    @property
    def usage(self) -> Usage:
        """Tokens as Claude counted them, and those that are guessed where it could not."""
        counted, guess = self.summary.usage, self._guess
        return counted if guess is NONE_GUESSED else counted.plus(guess)


@dataclass(slots=True, kw_only=True, eq=False)
class Generation:
    """What becomes of one call: made at the edge, filled by the layers, and shown to observers once it has ended.

    `answer` is what the caller got to know, `meter` what Claude was asked and took for it, and `nanodollars` what that
    costs. `head` are the headers of Claude's answer, where it is passed on as it came. Times are in seconds; `first` is
    the time to the first batch, None if there was none. `refused` says that it failed by an error of the caller's, with
    a status below 500.
    """

    admission: Admission = NOWHERE
    prompt: Prompt
    live: bool = False
    outcome: Outcome = "cancelled"
    error: str | None = None
    refused: bool = False
    answer: Summary = field(default_factory=Summary)
    meter: Meter = field(default_factory=Meter)
    head: Mapping[str, str] = field(default_factory=dict)
    nanodollars: int = 0
    first: float | None = None
    duration: float = 0.0

    @property
    def model(self) -> str | None:
        """The model that answered, None if none did."""
        return self.answer.model or self.meter.model

    @property
    def asked_for(self) -> str:
        """The model that was asked for."""
        return self.prompt.model or ""

    @property
    def usage(self) -> Usage:
        """What Claude took, or, where it was not asked, what the answer says that it took once."""
        return self.meter.usage if self.meter.asked else self.answer.usage


Observer = Callable[[Generation], None]
"""Is shown a generation when it has ended. It must not wait, nor fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One prompt on its way.

    `live` says that somebody watches the deltas, so Claude is asked to stream; `deadline` is in seconds of the event
    loop's clock; `generation` is what becomes of it.
    """

    prompt: Prompt
    deadline: float
    live: bool = False
    admission: Admission = NOWHERE
    generation: Generation = field(compare=False)


def call_for(prompt: Prompt, *, deadline: float, live: bool = False, admission: Admission = NOWHERE) -> Call:
    """A call at its beginning."""
    generation = Generation(prompt=prompt, live=live, admission=admission)
    return Call(prompt=prompt, deadline=deadline, live=live, admission=admission, generation=generation)


Batch = Sequence[Event]
"""All events that arrived in one read, so that whoever frames them can write once. `Frames` know their bytes too."""

Generate = Callable[[Call], AsyncGenerator[Batch, None]]
Layer = Callable[[Generate], Generate]


def compose(upstream: Generate, *layers: Layer) -> Generate:
    """Wrap `upstream` in `layers`, the first one outermost."""
    for layer in reversed(layers):
        upstream = layer(upstream)
    return upstream
