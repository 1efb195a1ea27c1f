"""What a prompt may take at most: a bound that must never be too low."""
import json

from hypothesis import given
from hypothesis import strategies as st

from aioapp.generation import Prompt, Turn
from aioapp.simulation.messages import estimate
from aioapp.upstream.requests import encode
from aioapp.usage.estimate import most_tokens

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
TURNS = st.lists(st.builds(Turn, role=st.sampled_from(["user", "assistant"]), content=TEXT), min_size=1)


def prompt(*turns: str, system: str | None = None, stops: tuple[str, ...] = (), most: int = 100) -> Prompt:
    return Prompt(messages=tuple(Turn("user", turn) for turn in turns), max_tokens=most, system=system,
                  stop_sequences=stops, model="m")


@given(messages=TURNS, system=st.none() | TEXT, stops=st.lists(TEXT))
def test_the_bound_is_never_below_a_token_for_every_byte_of_text(
        messages: list[Turn], system: str | None, stops: list[str],
) -> None:
    asked = Prompt(messages=tuple(messages), max_tokens=7, system=system, stop_sequences=tuple(stops))
    text = "".join([*(turn.content for turn in messages), system or "", *stops])
    least, output = most_tokens(asked)
    assert least >= len(text.encode()) + 16 * len(messages) and output == 7


@given(messages=TURNS, system=st.none() | TEXT)
def test_the_simulator_never_counts_more(messages: list[Turn], system: str | None) -> None:
    asked = Prompt(messages=tuple(messages), max_tokens=7, system=system, model="m")
    assert estimate(json.loads(encode(asked, live=False))) <= most_tokens(asked)[0]


def test_every_part_that_claude_reads_counts() -> None:
    bare = most_tokens(prompt("Hi"))[0]
    assert bare == 64 + 16 + 2
    assert most_tokens(prompt("Hi", "Hé"))[0] == bare + 16 + 3
    assert most_tokens(prompt("Hi", system="日本"))[0] == bare + 6
    assert most_tokens(prompt("Hi", stops=("###", "!")))[0] == bare + 4


def test_the_output_is_bounded_by_max_tokens() -> None:
    assert most_tokens(prompt("Hi", most=8000))[1] == 8000


def test_half_a_character_is_no_failure() -> None:
    assert most_tokens(prompt("\ud800"))[0] == 64 + 16 + 3
