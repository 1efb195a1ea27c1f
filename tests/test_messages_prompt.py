"""A prompt on its way to Claude."""
import json

from aioapp.messages.prompt import TextPrompt, Turn


def prompt(text: str) -> TextPrompt:
    return TextPrompt(messages=(Turn("user", text),), max_tokens=5, model="m")


def test_text_takes_no_more_bytes_than_it_has() -> None:
    bare = len(prompt("").body(live=False))
    for text in ("plain", "\u00e9" * 1000, "\uac00" * 1000, "\U0001f600" * 1000):
        sent = prompt(text).body(live=False)
        assert len(sent) == bare + len(text.encode())
        assert json.loads(sent)["messages"] == [{"role": "user", "content": text}]


def test_what_means_something_in_json_is_escaped() -> None:
    text = '"\\\n\x00\x1f\u2028'
    assert json.loads(prompt(text).body(live=False))["messages"][0]["content"] == text


def test_half_a_character_is_no_failure_of_ours() -> None:
    assert b"\xed\xa0\x80" in prompt("\ud800").body(live=False)
