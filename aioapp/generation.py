"""One pipeline: a call goes in, Claude's events come out, and layers stand between.

REST is a stream that was folded, SSE and WebSocket are one that was framed; nothing here knows which.
"""
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aioapp.callers import NOBODY, Caller
from aioapp.messages.events import Event, Usage
from aioapp.messages.meter import Meter
from aioapp.messages.prompt import Prompt
from aioapp.messages.summary import Summary

Outcome = Literal["completed", "cancelled", "failed"]
Transport = Literal["rest", "sse", "websocket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Made once, at the edge: who asks, under which request id, the second in which the limits counted it, and whether
    it came in a frame of a WebSocket."""

    caller: Caller = NOBODY
    request_id: str = ""
    counted: int = 0
    socket: bool = False


NOWHERE = Admission()
LEFT = 499
"""The status that is told for a caller who did not wait for one, as nginx has it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Generation:
    """What becomes of one call: made at the edge, filled by the layers, and shown to observers once it has ended.

    `answer` is what the caller got to know, `meter` what Claude was asked and took for it, and `nanodollars` what that
    costs. `status` is HTTP's, also of a frame, which has none. `head` are the headers of Claude's answer, where it is
    passed on as it came. Times are in seconds; `first` is the time to the first batch, None if there was none.
    `refused` says that it failed by an error of the caller's, with a status below 500.
    """

    admission: Admission = NOWHERE
    prompt: Prompt
    live: bool = False
    outcome: Outcome = "cancelled"
    error: str | None = None
    status: int = LEFT
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
    def transport(self) -> Transport:
        if self.admission.socket:
            return "websocket"
        return "sse" if self.live else "rest"

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
