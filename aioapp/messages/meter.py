"""What Claude takes for a call, counted from the events that come, and guessed where it could not count."""
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from time import perf_counter

from aioapp.messages.events import Deltas, Event, Usage
from aioapp.messages.frames import Frames
from aioapp.messages.prompt import Prompt
from aioapp.messages.summary import TELLING, Summary

AROUND_TEXT = 80
"""Bytes of JSON around the text of a delta."""
BYTES_A_TOKEN = 3
"""How many bytes of text make a token, to guess by; of English it is nearer to 4."""
TOKENS_A_SECOND = 100
"""How fast Claude writes, to guess by."""

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

    def lose(self, prompt: Prompt, *, live: bool) -> None:
        """The try came to nothing, and Claude may have worked for it all the same.

        It may have read the prompt, and have written, ever since it was asked, what was to come in one piece.
        """
        if self._since is not None and not self.summary.begun:
            seconds, most = perf_counter() - self._since, prompt.max_tokens
            written = 0 if live else min(most, ceil(seconds * TOKENS_A_SECOND))
            self._guess = Usage(self._guess.input_tokens - (-prompt.size // BYTES_A_TOKEN),
                                self._guess.output_tokens + written)
        self._since = None

    def see(self, batch: Sequence[Event]) -> None:
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

    def cut(self, prompt: Prompt, *, live: bool, by_us: bool) -> None:
        """The answer ended before its end. What Claude had not counted by then is guessed, from the text that came.

        Where nothing came it is lost, if it was `by_us` that it was stopped. If it was Claude who failed, it takes
        nothing for that.
        """
        if self.summary.begun:
            if self._uncounted:
                left = max(0, prompt.max_tokens - self.summary.usage.output_tokens)
                written = min(left, -(-self._uncounted // BYTES_A_TOKEN))
                self._guess = replace(self._guess, output_tokens=self._guess.output_tokens + written)
        elif by_us:
            self.lose(prompt, live=live)

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
