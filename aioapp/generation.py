"""One pipeline: a call goes in, Claude's events come out, and layers stand between.

REST is a stream that was folded, SSE and WebSocket are one that was framed; nothing here knows which.
"""
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from time import perf_counter
from typing import Literal

from aioapp.callers import NOBODY, Caller
from aioapp.errors import UpstreamFailed
from aioapp.messages.events import Event, Usage
from aioapp.messages.fold import Fold
from aioapp.messages.prompt import Prompt

Outcome = Literal["completed", "cancelled", "failed"]

AROUND_TEXT = 80
"""Bytes of JSON around the text of a delta."""
BYTES_A_TOKEN = 3
"""How many bytes of text make a token, to guess by; of English it is nearer to 4."""
TOKENS_A_SECOND = 100
"""How fast Claude writes, to guess by."""


class Meter:
    """What is known of one call while it runs: whether Claude was asked, the tokens and the seconds that it takes.

    `metered` feeds it, the layers around that read it; `record` is there once the call has ended, for
    one who takes it. It looks only into the events that carry usage.
    """

    __slots__ = ("_begun", "_fold", "_guess", "_since", "_uncounted", "asked", "record", "waited")

    def __init__(self) -> None:
        self._begun = False
        self._fold = Fold()
        self._guess = Usage()
        self._since: float | None = None
        self._uncounted = 0
        self.asked = False
        self.waited = 0.0
        self.record: Record | None = None

    def ask(self) -> None:
        """A try begins: from now on Claude may take something for it."""
        self.asked, self._since = True, perf_counter()

    def spare(self) -> None:
        """The try came to nothing, and Claude takes nothing for it: it was not reached, or has refused."""
        self._since = None

    def lose(self, call: "Call") -> None:
        """The try came to nothing, and Claude may have worked for it all the same.

        It may have read the prompt, and have written, ever since it was asked, what was to come in one piece.
        """
        if self._since is not None and not self._begun:
            seconds, most = perf_counter() - self._since, call.prompt.max_tokens
            written = 0 if call.live else min(most, ceil(seconds * TOKENS_A_SECOND))
            self._guess = Usage(self._guess.input_tokens - (-call.prompt.size // BYTES_A_TOKEN),
                                self._guess.output_tokens + written)
        self._since = None

    def see(self, batch: "Batch") -> tuple["Batch", UpstreamFailed | None]:
        """Take events in; gives those that make sense, and what is wrong with the one after them."""
        for count, event in enumerate(batch):
            if event.name in ("message_start", "message_delta", "message"):
                try:
                    self._fold.add(event)
                except UpstreamFailed as error:
                    return batch[:count], error
                self._begun, self._uncounted = True, 0
            elif event.name == "content_block_delta":
                self._uncounted += max(1, len(event.raw) - AROUND_TEXT)
        return batch, None

    def cut(self, call: "Call", *, by_us: bool) -> None:
        """The answer ended before its end. What Claude had not counted by then is guessed, from the text that came.

        Where nothing came it is lost, if it was `by_us` that it was stopped. If it was Claude who failed, it takes
        nothing for that.
        """
        if self._begun:
            left = max(0, call.prompt.max_tokens - self._counted().output_tokens)
            written = min(left, -(-self._uncounted // BYTES_A_TOKEN))
            self._guess = replace(self._guess, output_tokens=self._guess.output_tokens + written)
        elif by_us:
            self.lose(call)

    @property
    def model(self) -> str | None:
        """The model that answers, None if none has begun to."""
        model = self._fold.so_far().get("model")
        return model if isinstance(model, str) else None

    @property
    def stop_reason(self) -> str | None:
        reason = self._fold.so_far().get("stop_reason")
        return reason if isinstance(reason, str) else None

    @property
    def usage(self) -> Usage:
        """Tokens as Claude counted them, and those that are guessed where it could not."""
        counted, guess = self._counted(), self._guess
        if not guess.total:
            return counted
        return replace(counted, input_tokens=counted.input_tokens + guess.input_tokens,
                       output_tokens=counted.output_tokens + guess.output_tokens)

    def _counted(self) -> Usage:
        return Usage.of(self._fold.so_far().get("usage"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One generation, ended. Times are in seconds; `first` is the time to the first batch, None if there was none.

    `asked` says whether Claude was: what we refuse ourselves is no use of Claude.
    """

    call: "Call"
    outcome: Outcome
    error: str | None
    model: str | None
    stop_reason: str | None
    usage: Usage
    nanodollars: int
    first: float | None
    duration: float
    asked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One prompt on its way.

    `live` says that somebody watches the deltas, so Claude is asked to stream; `deadline` is in seconds of the event
    loop's clock; `client` is who asked, `admitted` when the limits counted that, `request_id` the name of the request.
    """

    prompt: Prompt
    deadline: float
    live: bool = False
    caller: Caller = NOBODY
    admitted: int = 0
    request_id: str = ""
    meter: Meter = field(default_factory=Meter, compare=False)


Batch = Sequence[Event]
"""All events that arrived in one read, so that whoever frames them can write once."""

Generate = Callable[[Call], AsyncGenerator[Batch, None]]
Layer = Callable[[Generate], Generate]


def compose(upstream: Generate, *layers: Layer) -> Generate:
    """Wrap `upstream` in `layers`, the first one outermost."""
    for layer in reversed(layers):
        upstream = layer(upstream)
    return upstream
