"""What a prompt may take at most: a bound that must never be too low."""
import json
import time
from collections.abc import Iterator
from unicodedata import combining, decomposition, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.simulator.messages import estimate
from aioapp.messages.estimate import DOUBLY, GROWING, JAMO, MOST_COUNTED, size

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
EVERY = list(map(chr, range(0x110000)))
GROWS = st.sampled_from([char for char in EVERY if GROWING.match(char)])
TURNS = st.lists(st.builds(Turn, role=st.sampled_from(["user", "assistant"]), content=TEXT), min_size=1)


def prompt(*turns: str, system: str | None = None, stops: tuple[str, ...] = (), most: int = 100) -> TextPrompt:
    return TextPrompt(messages=tuple(Turn("user", turn) for turn in turns), max_tokens=most, system=system,
                      stop_sequences=stops, model="m")


@given(messages=TURNS, system=st.none() | TEXT, stops=st.lists(TEXT))
def test_the_bound_is_never_below_a_token_for_every_byte_of_text(
        messages: list[Turn], system: str | None, stops: list[str],
) -> None:
    asked = TextPrompt(messages=tuple(messages), max_tokens=7, system=system, stop_sequences=tuple(stops))
    text = "".join([*(turn.content for turn in messages), system or "", *stops])
    least, output = asked.most_input, asked.max_tokens
    assert least >= len(text.encode()) + 16 * len(messages) and output == 7


@given(messages=TURNS, system=st.none() | TEXT)
def test_the_simulator_never_counts_more(messages: list[Turn], system: str | None) -> None:
    asked = TextPrompt(messages=tuple(messages), max_tokens=7, system=system, model="m")
    assert estimate(json.loads(asked.body(live=False))) <= asked.most_input


def test_every_part_that_claude_reads_counts() -> None:
    bare = prompt("Hi").most_input
    assert bare == 64 + 16 + 2
    assert prompt("Hi", "Hé").most_input == bare + 16 + 3
    assert prompt("Hi", system="日本").most_input == bare + 6
    assert prompt("Hi", stops=("###", "!")).most_input == bare + 4


def test_the_output_is_bounded_by_max_tokens() -> None:
    assert prompt("Hi", most=8000).max_tokens == 8000


def test_half_a_character_is_no_failure() -> None:
    assert prompt("\ud800").most_input == 64 + 16 + 3


def utf8(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def form(text: str) -> int:
    """Bytes of the compatible form."""
    return utf8(normalize("NFKC", text))


def parts(text: str) -> int:
    """Bytes of the form in which nothing is joined."""
    return utf8(normalize("NFKD", text))


def pairs() -> Iterator[tuple[str, str, str]]:
    """What two characters may be joined to, and those two (UAX #15)."""
    for char in EVERY:
        match decomposition(char).split():
            case [one, two] if not one.startswith("<"):
                yield char, chr(int(one, 16)), chr(int(two, 16))


def joining() -> frozenset[str]:
    """Those whose compatible form begins with what may be joined to something before it."""
    seconds = {second for _, _, second in pairs()} | set(map(chr, JAMO))
    return frozenset(char for char in EVERY if combining(first := normalize("NFKD", char)[0]) or first in seconds)


def test_a_character_that_is_counted_once_neither_grows_nor_joins_what_stands_before_it() -> None:
    joins = joining()
    for char in EVERY:
        assert GROWING.match(char) or (char not in joins and form(char) <= utf8(char)), f"U+{ord(char):04X}"


def test_no_text_can_take_more_than_its_characters_are_counted_for() -> None:
    """A character's form stands for itself, unless something follows that joins; then its parts may come out.

    Those are more by so many bytes at most, which are counted for what follows. To join parts makes them no longer.
    """
    for joined, one, two in pairs():
        assert utf8(joined) <= utf8(one) + utf8(two) or normalize("NFC", joined) != joined
    parted, joins = max(parts(char) - form(char) for char in EVERY), joining()
    for char in EVERY:
        assert max(form(char), parts(char) + parted if char in joins else 0) <= size(char), f"U+{ord(char):04X}"


@given(st.text(GROWS | st.sampled_from("ae\u00e9\u1ebf\u1f82\u1100\uac00\uac01\u327c \u0b47\U0001f600")))
def test_a_text_s_compatible_form_is_never_longer_than_what_is_counted(text: str) -> None:
    assert max(form(text), utf8(text)) <= size(text)


@pytest.mark.parametrize("text", [
    "plain ASCII", "café, naïve – “Grüße”…", "日本語はが", "한국어", "йогурт", "Tiếng Việt", "العربية", "\U0001f600\U0001f44d"])
def test_ordinary_text_takes_its_bytes(text: str) -> None:
    assert size(text) == utf8(text)


def test_a_text_with_many_characters_that_grow_is_still_counted_for_all_of_them() -> None:
    for char in (DOUBLY, "\u3300", "\u0300"):
        text = char * (MOST_COUNTED + 5)
        assert size(text) >= len(text) * max(form(char), utf8(char))
        assert size(text + "x" * 1000) >= size(text) + 1000


@pytest.mark.parametrize("again", ["\u0300\u0316", "\u0308", DOUBLY, "e\u0301", "\u1100\u1161\u11a8"])
def test_no_text_takes_a_time_that_grows_with_its_square(again: str) -> None:
    """It took 17 s for 160 kB of the first."""
    text = again * (2**20 // utf8(again))
    began = time.thread_time()
    size(text)
    assert time.thread_time() - began < 0.5
