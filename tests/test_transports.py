"""One behaviour, three transports: whatever REST says, SSE and the WebSocket say too."""
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioapp.app import create_app
from aioapp.settings import Settings
from tests.conftest import Serve, start
from tests.upstreams import BLOCK, END, MESSAGE, START, Connection, delta, frame, upstream, whole

Body = dict[str, Any]
Ask = Callable[[aiohttp.ClientSession, str, Body], Awaitable[Body]]


async def by_rest(http: aiohttp.ClientSession, url: str, body: Body) -> Body:
    async with http.post(f"{url}/api/generate", json=body) as response:
        answer: Body = await response.json()
        return answer | {"status": response.status}


async def by_sse(http: aiohttp.ClientSession, url: str, body: Body) -> Body:
    """The `done` event, after checking that the deltas say the same; or the error, in whichever form it came."""
    async with http.post(f"{url}/api/stream", json=body | {"format": "events"}) as response:
        if response.status != 200:
            return {**await response.json(), "status": response.status}
        events = [json.loads(line.removeprefix("data: ")) for line in (await response.text()).split("\n")
                  if line.startswith("data: ")]
    return checked(events)


async def by_socket(http: aiohttp.ClientSession, url: str, body: Body) -> Body:
    async with http.ws_connect(f"{url}/ws/generate") as socket:
        await socket.send_json(body)
        answer: Body = await socket.receive_json()
        return answer


async def by_socket_stream(http: aiohttp.ClientSession, url: str, body: Body) -> Body:
    async with http.ws_connect(f"{url}/ws/generate") as socket:
        await socket.send_json(body | {"stream": True})
        frames = [await socket.receive_json()]
        while frames[-1].get("type") in ("start", "delta"):
            frames.append(await socket.receive_json())
    return checked(frames)


def checked(frames: list[Body]) -> Body:
    last = frames[-1]
    if last.get("type") != "done":
        return last
    assert [frame["type"] for frame in frames] == ["start", *["delta"] * (len(frames) - 2), "done"]
    assert "".join(frame["text"] for frame in frames[1:-1]) == last["response"]
    return {key: value for key, value in last.items() if key != "type"}


TRANSPORTS = [by_rest, by_sse, by_socket, by_socket_stream]


@pytest.fixture(params=TRANSPORTS, ids=lambda ask: ask.__name__)
def ask(request: pytest.FixtureRequest) -> Ask:
    ask: Ask = request.param
    return ask


async def test_the_answer_says_what_claude_said_and_counted(
        serve: Serve, http: aiohttp.ClientSession, ask: Ask) -> None:
    async with upstream(whole) as claude:
        answer = await ask(http, await serve(claude.url), {"prompt": "Say hello"})
    assert answer["success"] is True
    assert (answer["response"], answer["prompt"], answer["stop_reason"]) == ("Hello, wörld", "Say hello", "end_turn")
    assert answer["model"] == "claude-sonnet-5-5"
    assert answer["usage"] == {"input_tokens": 7, "output_tokens": 5, "cache_creation_input_tokens": 2,
                               "cache_read_input_tokens": 3}
    assert answer["tokens_used"] == 17
    assert answer["warnings"] == []
    assert answer["request_id"] and answer["timestamp"].endswith("+00:00")


async def test_what_is_asked_reaches_claude_as_the_messages_api_wants_it(
        serve: Serve, http: aiohttp.ClientSession, ask: Ask) -> None:
    body = {"prompt": "Hi", "max_tokens": 9, "system": "Be brief.", "effort": "low", "stop_sequences": ["END"]}
    async with upstream(whole) as claude:
        await ask(http, await serve(claude.url), body)
    sent = claude.seen[0]
    assert sent.head == "POST /v1/messages HTTP/1.1"
    assert sent.headers["authorization"] == "Bearer sk-canary-key"
    assert sent.headers["anthropic-version"] == "2026-10-21"
    assert {name: value for name, value in sent.body.items() if name != "stream"} == {
        "model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
        "system": "Be brief.", "stop_sequences": ["END"], "output_config": {"effort": "low"},
        "thinking": {"type": "between_tools"}}


async def test_only_a_watched_answer_is_streamed_by_claude(
        serve: Serve, http: aiohttp.ClientSession, ask: Ask) -> None:
    async with upstream(whole) as claude:
        await ask(http, await serve(claude.url), {"prompt": "Hi"})
    assert claude.seen[0].body.get("stream", False) is (ask in (by_sse, by_socket_stream))


async def test_a_setting_that_the_model_does_not_take_is_left_out_and_named(
        serve: Serve, http: aiohttp.ClientSession, ask: Ask) -> None:
    async with upstream(whole) as claude:
        url = await serve(claude.url)
        newer = await ask(http, url, {"prompt": "Hi", "temperature": 0.5})
        older = await ask(http, url, {"prompt": "Hi", "temperature": 0.0, "effort": "max", "model": "claude-haiku-4-5"})
    assert newer["warnings"] == ["temperature was left out: claude-sonnet-5-5 does not take it."]
    assert older["warnings"] == ["effort was left out: claude-haiku-4-5 does not take it."]
    first, second = claude.seen
    assert "temperature" not in first.body
    assert (second.body["temperature"], second.headers["anthropic-version"]) == (0.0, "2023-06-01")
    assert "output_config" not in second.body and "thinking" not in second.body


async def test_thinking_and_no_text_at_all_are_no_errors(
        serve: Serve, http: aiohttp.ClientSession, ask: Ask) -> None:
    url = await serve()
    thought = await ask(http, url, {"prompt": "Hi", "model": "claude-fable-5-2"})
    refused = await ask(http, url, {"prompt": "Hi", "model": "simulate-refusal"})
    assert thought["response"] and thought["stop_reason"] == "end_turn"
    assert refused["success"] is True and refused["stop_reason"] == "refusal"


FAILURES = {
    "simulate-429": (429, "Claude's rate limit is reached"),
    "simulate-529": (503, "Claude is overloaded"),
    "simulate-500": (502, "Claude's answer could not be used"),
    "claude-nonesuch-5-5": (400, "Bad request"),
}


@pytest.mark.parametrize("model", FAILURES)
async def test_a_failure_is_told_in_the_same_words_everywhere(
        serve: Serve, http: aiohttp.ClientSession, ask: Ask, model: str) -> None:
    async with upstream(*[refuse(model)] * 3) as claude:
        answer = await ask(http, await serve(claude.url), {"prompt": "Hi", "model": model})
    status, error = FAILURES[model]
    assert answer["success"] is False
    assert answer["error"] == error
    assert answer.get("status", status) == status
    assert "sk-canary" not in json.dumps(answer)


def refuse(model: str) -> Callable[[Connection], Awaitable[None]]:
    status = {"simulate-429": 429, "simulate-529": 529, "simulate-500": 500}.get(model, 404)

    async def script(connection: Connection) -> None:
        # Told not to try again, so that no test waits.
        said = {"type": "error", "error": {"type": "some_error", "message": "said Claude"}}
        await connection.answer(status, json.dumps(said).encode(), x_should_retry="false")

    return script


@pytest.mark.parametrize(("body", "loc", "code"), [
    ({}, ["body", "prompt"], "value_error.missing"),
    ({"prompt": ""}, ["body", "prompt"], "value_error.any_str.min_length"),
    ({"prompt": " \n"}, ["body", "prompt"], "value_error.any_str.blank"),
    ({"prompt": "x" * 10_001}, ["body", "prompt"], "value_error.any_str.max_length"),
    ({"prompt": 5}, ["body", "prompt"], "type_error.str"),
    ({"prompt": "x", "max_tokens": 0}, ["body", "max_tokens"], "value_error.number.not_ge"),
    ({"prompt": "x", "max_tokens": 8001}, ["body", "max_tokens"], "value_error.number.not_le"),
    ({"prompt": "x", "max_tokens": "12"}, ["body", "max_tokens"], "type_error.integer"),
    ({"prompt": "x", "max_tokens": True}, ["body", "max_tokens"], "type_error.integer"),
    ({"prompt": "x", "temperature": 1.1}, ["body", "temperature"], "value_error.number.not_le"),
    ({"prompt": "x", "effort": "huge"}, ["body", "effort"], "value_error.const"),
    ({"prompt": "x", "stop_sequences": [1]}, ["body", "stop_sequences", 0], "type_error.str"),
    ({"prompt": "x", "nonsense": 1}, ["body", "nonsense"], "value_error.extra"),
])
async def test_an_invalid_body_is_refused_with_where_and_why(
        serve: Serve, http: aiohttp.ClientSession, ask: Ask, body: Body, loc: list[Any], code: str) -> None:
    answer = await ask(http, await serve(), body)
    assert answer.get("status", 422) == 422
    assert [(problem["loc"], problem["type"]) for problem in answer["detail"]] == [(loc, code)]
    assert all(problem["msg"] for problem in answer["detail"])


NONSENSE = {
    "a message that is none": frame("message_start", message="x") + END,
    "usage that is none": frame("message_start", message={**MESSAGE, "content": [], "usage": 7}) + END,
    "a delta in no block": START + delta("hey") + END,
    "a block without an end": START + BLOCK + delta("hey") + frame("message_stop"),
    "no stop reason": START + frame("message_stop"),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_nonsense_from_claude_is_a_bad_gateway_and_never_half_an_answer(
        serve: Serve, http: aiohttp.ClientSession, ask: Ask, nonsense: str) -> None:
    async def script(connection: Connection) -> None:
        if connection.body.get("stream"):
            await connection.stream(NONSENSE[nonsense])
        else:
            await connection.answer(200, b'{"type": "message", "model": "m", "content": [], "usage": 5}')

    async with upstream(script) as claude:
        answer = await ask(http, await serve(claude.url), {"prompt": "Hi"})
    assert answer["success"] is False
    assert answer["error"] == "Claude's answer could not be used"
    assert answer.get("status", 502) == 502


async def test_the_longest_prompt_is_taken_whole(serve: Serve, http: aiohttp.ClientSession, ask: Ask) -> None:
    async with upstream(whole) as claude:
        await ask(http, await serve(claude.url), {"prompt": "ö" * 10_000})
    assert claude.seen[0].body["messages"][0]["content"] == "ö" * 10_000


async def test_a_server_without_credentials_says_so(
        stack: AsyncExitStack, http: aiohttp.ClientSession, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    url = await start(create_app(Settings(base_url="http://127.0.0.1:9")), stack)
    answer = await ask(http, url, {"prompt": "Hi"})
    assert answer.get("status", 503) == 503
    assert answer["error"] == "Claude client not initialized. Check authentication credentials."
    async with http.get(f"{url}/health") as health:
        assert (health.status, (await health.json())["auth_type"]) == (503, None)
