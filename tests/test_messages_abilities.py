"""What each model takes."""
from dataclasses import replace

import pytest

from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.messages.abilities import Abilities, abilities

NEW = {"temperature": False, "effort": True}
OLD = {"temperature": True, "effort": False}


@pytest.mark.parametrize(("model", "able"), [
    ("claude-sonnet-5-5", Abilities(**NEW, quiet="between_tools")),
    ("claude-opus-5-5", Abilities(**NEW, quiet="between_tools")),
    ("claude-fable-5-2", Abilities(**NEW, quiet="between_tools")),
    ("claude-mythos-5-1", Abilities(**NEW, quiet="between_tools")),
    ("claude-sonnet-5", Abilities(**NEW, quiet="between_tools")),
    ("claude-haiku-5-5", Abilities(**NEW, quiet="disabled")),
    ("claude-opus-4-8", Abilities(**NEW, quiet=None)),
    ("claude-opus-4-7", Abilities(**NEW, quiet=None)),
    ("claude-opus-4-6", Abilities(temperature=True, effort=True, quiet=None)),
    ("claude-sonnet-4-6", Abilities(temperature=True, effort=True, quiet=None)),
    ("claude-opus-4-5-20251101", Abilities(temperature=True, effort=True, quiet=None)),
    ("claude-sonnet-4-5-20250929", Abilities(**OLD, quiet=None)),
    ("claude-haiku-4-5", Abilities(**OLD, quiet=None)),
    ("claude-sonnet-4-20250514", Abilities(**OLD, quiet=None)),
    ("claude-3-5-sonnet-20241022", Abilities(**OLD, quiet=None)),
    ("claude-3-opus-20240229", Abilities(**OLD, quiet=None)),
    ("anthropic.claude-opus-4-1-20250805-v1:0", Abilities(**OLD, quiet=None)),
    ("claude-mythos-preview", Abilities(**NEW, quiet=None)),
    ("our-own-deployment", Abilities(**NEW, quiet=None)),
])
def test_a_models_name_tells_what_it_takes(model: str, able: Abilities) -> None:
    assert abilities(model) == able


def test_a_prompt_is_fitted_to_its_model_and_what_is_left_out_is_named() -> None:
    prompt = TextPrompt(messages=(Turn("user", "Hi"),), max_tokens=5, temperature=0.0, effort="low")
    newer, about_newer = prompt.fitted("claude-sonnet-5-5")
    older, about_older = prompt.fitted("claude-haiku-4-5")
    assert (newer.model, newer.temperature, newer.effort) == ("claude-sonnet-5-5", None, "low")
    assert (older.model, older.temperature, older.effort) == ("claude-haiku-4-5", 0.0, None)
    assert [warning.split()[0] for warning in (*about_newer, *about_older)] == ["temperature", "effort"]


def test_of_a_prompt_that_fits_nothing_is_left_out_and_little_thinking_is_asked() -> None:
    prompt = TextPrompt(messages=(Turn("user", "Hi"),), max_tokens=5, model="claude-sonnet-5-5", effort="max")
    assert prompt.fitted("claude-sonnet-5-5") == (replace(prompt, thinking="between_tools"), ())
