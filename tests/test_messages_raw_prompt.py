"""A raw prompt goes on as it is; what is known of it is enough to reserve and to account by."""
import json
from typing import Any
from unicodedata import normalize

import pytest

from aioapp.errors import BadRequest
from aioapp.messages.blocks import LONGEST_TEXT, MOST_PICTURE, PAGE, PICTURE
from aioapp.messages.named_models import MOST_MODELS
from aioapp.messages.raw_prompt import MOST_CONTEXT, RawPrompt, read

ASKED: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


def prompt(**more: Any) -> RawPrompt:
    return read(json.dumps({**ASKED, **more}).encode())


def test_it_is_its_body_and_never_fitted() -> None:
    raw = b'{ "max_tokens":5,"model":"m","x":[1.0] }'
    made = read(raw, query="a=%2F", headers={"anthropic-beta": "b"})
    assert made.body(live=True) is raw and made.fitted("other") == (made, ())
    assert (made.query, made.headers(), made.model, made.max_tokens) == ("?a=%2F", {"anthropic-beta": "b"}, "m", 5)


@pytest.mark.parametrize(("stream", "live"), [(True, True), (False, False), (1, False), ("true", False), (None, False)])
def test_only_true_asks_for_a_stream(stream: object, live: bool) -> None:
    assert prompt(stream=stream).live is live


@pytest.mark.parametrize("raw", [
    b"", b"[]", b"5", b'"a"', b"{", b"\xff", b'{"model":"m","max_tokens":1}x', "{}".encode("utf-16"), b"\xef\xbb\xbf{}",
    b'{"model":"\\ud800","max_tokens":1}', b'{"model":"m","max_tokens":' + b"1" * 10_000 + b"}", b"[" * 10_000])
def test_what_is_no_object_of_json_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        read(raw)


def test_models_are_bounded_in_number_and_length() -> None:
    assert len(prompt(fallbacks=[{"model": f"m{n}"} for n in range(MOST_MODELS - 1)]).models) == MOST_MODELS
    for more in ({"fallbacks": [{"model": f"m{n}"} for n in range(MOST_MODELS)]}, {"model": "m" * 257}):
        with pytest.raises(BadRequest):
            prompt(**more)


def test_a_picture_is_known_by_what_it_is_and_not_by_its_bytes() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 5_000_000}
    made = prompt(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])
    assert (made.media, made.most_media) == (PICTURE, MOST_PICTURE)
    assert made.size < 500 and made.most_input < 6000


def test_a_document_is_known_by_its_pages_also_in_what_a_tool_gave_back() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "A" * 400_000}
    inner = {"type": "tool_result", "content": [{"type": "document", "source": source}]}
    made = prompt(messages=[{"role": "user", "content": [inner]}])
    assert made.media == 10 * PAGE and made.size < 500
    assert made.most_input == MOST_CONTEXT
    linked = {"type": "document", "source": {"type": "url", "url": "https://a.example/b.pdf"}}
    assert prompt(messages=[{"role": "user", "content": [linked]}]).media == 10 * PAGE


@pytest.mark.parametrize("content", [
    "x" * 1000, "ü" * 1000, "\ufdfa" * 100, "\U0001f600" * 200, [{"type": "text", "text": "\u0001" * 100}]])
@pytest.mark.parametrize("ascii", [True, False])
def test_no_text_has_more_tokens_than_its_bound(content: object, ascii: bool) -> None:
    asked = {**ASKED, "messages": [{"role": "user", "content": content}]}
    made = read(json.dumps(asked, ensure_ascii=ascii).encode())
    text = content if isinstance(content, str) else content[0]["text"]  # type: ignore[index]
    assert made.most_input >= len(normalize("NFKC", text).encode())


@pytest.mark.parametrize(("more", "named"), [
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "the tool web_search_20250305"),
    ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"), ({"container": {"skills": []}}, "container"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}, {"name": "f", "input_schema": {}}]}, None),
    ({"tools": [{"type": "custom", "name": "f"}, "odd", 5]}, None), ({"mcp_servers": []}, None), ({"tools": 5}, None)])
def test_what_lets_claude_take_turns_of_its_own_is_named(more: dict[str, Any], named: str | None) -> None:
    assert prompt(**more).unbounded == named


@pytest.mark.parametrize(("content", "text"), [
    ("Hi", "Hi"), ([{"type": "text", "text": "a"}, {"type": "image", "source": {"data": "secret"}},
                    {"type": "text", "text": "b"}], "a\nb"),
    ([{"type": "tool_result", "content": "no text of a person's"}], ""), (5, ""), (None, ""),
    ("x" * 20_000, "x" * LONGEST_TEXT)])
def test_trap_13_records_keep_the_last_turns_texts_and_nothing_else(content: object, text: str) -> None:
    assert prompt(messages=[{"role": "user", "content": "first"}, {"role": "user", "content": content}]).text == text


@pytest.mark.parametrize("messages", [[], None, 5, "x", [5], [{}], [{"content": {"type": "image"}}], {"a": 1}])
def test_odd_messages_are_claudes_to_refuse(messages: object) -> None:
    made = prompt(messages=messages)
    assert (made.media, made.text) == (0, "")
