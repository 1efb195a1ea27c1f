"""A handler that asks Claude: as whoever the request is from, by the same rules as `/api/generate`."""
import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aioapp import (
    Body, Operation, Reply, TextPrompt, Turn, ask, ask_stream, create_app, errors, fields, set_access)
from aioapp.credentials import fixed
from aioapp.endpoints import OPERATIONS, endpoints
from aioapp.settings import Settings
from aioapp.telemetry.logs import AccessRecord
from aioapp.usage.usage_store import Wanted
from aioapp.web.context import SERVICES
from aioapp.web.endpoint import Endpoint, Handler
from aioapp.web.operations.ask import MOST_AT_ONCE
from tests.conftest import start
from tests.keyed import make_key, shown
from tests.upstreams import BLOCK, END, MESSAGE, START, USAGE, Connection, delta, upstream, whole

PROMPT = TextPrompt(messages=(Turn("user", "Hi"),), max_tokens=50)
PATIENCE = 10.0


def app_with(handler: Handler, url: str, **settings: Any) -> web.Application:
    app = create_app(Settings(base_url=url, **{"shutdown_timeout": 0.2, **settings}), credentials=fixed("k", "test"))
    app.router.add_get("/own", handler)
    set_access(app, app.router.add_get("/open", handler), access="open")
    return app


async def told(http: aiohttp.ClientSession, url: str, path: str = "/own", **headers: str) -> tuple[int, Any]:
    async with asyncio.timeout(PATIENCE), http.get(url + path, headers=headers) as response:
        return response.status, await response.json()


async def once(request: web.Request) -> web.Response:
    return web.json_response({"text": (await ask(request, PROMPT)).text})


async def twice(request: web.Request) -> web.Response:
    times = range(int(request.query.get("times", 2)))
    return web.json_response({"texts": [(await ask(request, PROMPT)).text for _ in times]})


async def together(request: web.Request) -> web.Response:
    async with asyncio.TaskGroup() as group:
        for _ in range(int(request.query.get("times", 2))):
            group.create_task(ask(request, PROMPT))
    return web.json_response({})


async def streamed(request: web.Request) -> web.StreamResponse:
    async with ask_stream(request, PROMPT) as stream:
        response = web.StreamResponse()
        await response.prepare(request)
        async for text in stream:
            await response.write(text.encode())
    return response


async def waiting(connection: Connection) -> None:
    """Begin to answer, and go on once the caller is gone, which is never."""
    if connection.body.get("stream"):
        await connection.begin()
        await connection.chunk(START + BLOCK + delta("Hello"))
    await connection.gone.wait()


async def test_a_reply_says_all_that_there_is_to_say_and_stands_in_the_accounts_and_the_log(
        http: aiohttp.ClientSession, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture) -> None:
    replies = []

    async def handle(request: web.Request) -> web.Response:
        prompt = TextPrompt(messages=PROMPT.messages, max_tokens=50, temperature=0.5)
        replies.append(await ask(request, prompt))
        async with ask_stream(request, PROMPT) as stream:
            texts = [text async for text in stream]
            replies.append(await stream.reply())
        async with ask_stream(request, PROMPT) as stream:
            replies.append(await stream.reply())
        return web.json_response({"texts": texts})

    key = make_key("web", usd=1.0)
    claude = await stack.enter_async_context(upstream(whole))
    app = app_with(handle, claude.url)
    url = await start(app, stack)
    with caplog.at_level(logging.INFO, "aioapp.requests"):
        assert await told(http, url, **shown(key), **{"X-Request-ID": "r"}) == (
            200, {"texts": ["Hello", ", ", "wörld"]})
    for reply in replies:
        assert (reply.text, reply.model, reply.stop_reason) == ("Hello, wörld", "claude-sonnet-5-5", "end_turn")
        assert reply.usage.total == sum(USAGE.values()) and reply.cost_usd > 0 and reply.data == {}
        assert reply.answer["response"] == reply.message.text and reply.answer["request_id"] == reply.request_id
    assert [reply.request_id for reply in replies] == ["r.ask1", "r.ask2", "r.ask3"]
    assert [len(reply.warnings) for reply in replies] == [1, 0, 0]
    lines = [record.msg for record in caplog.records if isinstance(record.msg, AccessRecord)]
    assert [(line.method, line.path, line.status, line.key, line.request_id) for line in lines] == [
        ("ASK", "/own", 200, "web", f"r.ask{number}") for number in (1, 2, 3)] + [("GET", "/own", 200, "web", "r")]
    async with http.get(f"{url}/api/usage", headers=shown(key)) as response:
        spent = (await response.json())["budget"]["spent_usd"]
    assert spent == pytest.approx(sum(reply.cost_usd for reply in replies))
    ledger = app[SERVICES].ledger
    await ledger.flush()
    kept = await app[SERVICES].usage.requests(Wanted(key="web"), limit=9)
    assert {row["request_id"] for row in kept.requests} == {"r.ask1", "r.ask2", "r.ask3"}


@pytest.mark.parametrize("handler", [once, streamed, together])
@pytest.mark.parametrize(("terms", "status", "title"), [
    ({"models": ("claude-haiku-*",)}, 403, "Forbidden"),
    ({"usd": 1.0, "spent": 1.0}, 402, "The key's budget is spent"),
    ({"tokens_per_minute": 10}, 400, "Bad request"),
])
async def test_what_is_refused_is_answered_as_generate_would(
        handler: Handler, terms: Mapping[str, Any], status: int, title: str, http: aiohttp.ClientSession,
        stack: AsyncExitStack) -> None:
    key = make_key(**terms)
    claude = await stack.enter_async_context(upstream(whole))
    url = await start(app_with(handler, claude.url), stack)
    found, answer = await told(http, url, **shown(key))
    assert (found, answer["error"]) == (status, title) and claude.seen == []


@pytest.mark.parametrize("handler", [once, streamed])
async def test_what_claude_fails_to_do_is_told_and_can_be_caught(
        handler: Handler, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    async def refuse(connection: Connection) -> None:
        await connection.answer(400, b'{"type":"error","error":{"type":"invalid_request_error","message":"No."}}')

    async def careful(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except errors.BadRequest as error:
            return web.json_response({"caught": error.detail})

    claude = await stack.enter_async_context(upstream(refuse))
    url, other = [await start(app_with(own, claude.url), stack) for own in (handler, careful)]
    assert (await told(http, url))[0] == 400
    status, answer = await told(http, other)
    assert status == 200 and "No." in answer["caught"]


async def test_the_first_is_what_the_request_was_counted_for_and_each_further_one_counts_as_a_request(
        http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    key = make_key(requests_per_minute=3)
    claude = await stack.enter_async_context(upstream(whole))
    url = await start(app_with(twice, claude.url), stack)
    assert (await told(http, url, **shown(key)))[0] == 200
    status, answer = await told(http, url, **shown(key))
    assert (status, answer["error"], len(claude.seen)) == (429, "This server's limit for you is reached", 3)


async def test_those_side_by_side_take_a_place_each(http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    one, many = make_key("one", concurrency=1), make_key("many")
    claude = await stack.enter_async_context(upstream(whole))
    url = await start(app_with(together, claude.url), stack)
    assert (await told(http, url, **shown(one)))[0] == 429
    assert (await told(http, url, **shown(one)))[0] == 429  # and no place is lost
    assert (await told(http, url, f"/own?times={MOST_AT_ONCE}", **shown(many)))[0] == 200
    status, answer = await told(http, url, f"/own?times={MOST_AT_ONCE + 1}", **shown(many))
    assert (status, answer["detail"]) == (400, "At most 8 generations can run for a request at once.")
    url = await start(app_with(twice, claude.url), stack)
    assert (await told(http, url, f"/own?times={MOST_AT_ONCE + 1}", **shown(many)))[0] == 200


async def test_on_a_route_for_everybody_a_key_is_needed_to_ask_as_long_as_there_are_any(
        http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    claude = await stack.enter_async_context(upstream(whole))
    url = await start(app_with(once, claude.url), stack)
    assert (await told(http, url, "/open"))[0] == 200
    key = make_key(requests_per_minute=1)
    keyed = await start(app_with(once, claude.url), stack)
    assert (await told(http, keyed, "/open"))[0] == 401
    assert (await told(http, keyed, "/open", **shown(key)))[0] == 200
    assert (await told(http, keyed, "/open", **shown(key)))[0] == 429


@pytest.mark.parametrize("handler", [once, streamed, together])
async def test_a_caller_who_hangs_up_stops_claude(handler: Handler, stack: AsyncExitStack) -> None:
    claude = await stack.enter_async_context(upstream(waiting))
    url = await start(app_with(handler, claude.url), stack)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET /own HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        while len(claude.seen) < (2 if handler is together else 1):
            await asyncio.sleep(0.01)
        writer.close()
        await asyncio.gather(*(connection.gone.wait() for connection in claude.seen))


async def test_leaving_a_stream_stops_claude_and_there_is_no_whole_answer_of_it(
        http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    async def impatient(request: web.Request) -> web.Response:
        async with ask_stream(request, PROMPT) as stream:
            first = await anext(stream)
        async with asyncio.timeout(PATIENCE):
            await claude.seen[0].gone.wait()
        with pytest.raises(RuntimeError, match="left before its end"):
            await stream.reply()
        return web.json_response({"first": first})

    claude = await stack.enter_async_context(upstream(waiting))
    url = await start(app_with(impatient, claude.url), stack)
    assert await told(http, url) == (200, {"first": "Hello"})


async def test_nobody_asks_for_a_request_that_was_answered(http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    over, tasks = asyncio.Event(), []

    async def later(request: web.Request) -> None:
        await over.wait()
        await ask(request, PROMPT)

    async def handle(request: web.Request) -> web.Response:
        tasks.append(asyncio.create_task(later(request)))
        return web.json_response({})

    claude = await stack.enter_async_context(upstream(whole))
    url = await start(app_with(handle, claude.url), stack)
    await told(http, url)
    over.set()
    with pytest.raises(RuntimeError, match="only while the request is handled"):
        await tasks[0]
    assert claude.seen == []


async def test_an_application_inside_ours_asks_too(http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    claude = await stack.enter_async_context(upstream(whole))
    app, inner = app_with(once, claude.url), web.Application()
    inner.router.add_get("/own", once)
    opened = inner.router.add_get("/open", once)
    app.add_subapp("/inner", inner)
    set_access(app, opened, access="open")
    url = await start(app, stack)
    for path in ("/inner/own", "/inner/open"):
        assert await told(http, url, path) == (200, {"text": "Hello, wörld"})


async def test_a_group_that_fails_for_something_else_too_is_a_fault_of_ours(
        http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    async def handle(request: web.Request) -> web.Response:
        raise ExceptionGroup("", [errors.NotFound(), ExceptionGroup("", [KeyError()])])

    async def nested(request: web.Request) -> web.Response:
        raise ExceptionGroup("", [ExceptionGroup("", [errors.NotFound("Gone.")]), errors.Conflict()])

    url, other = [await start(app_with(own, "http://127.0.0.1:1"), stack) for own in (handle, nested)]
    assert (await told(http, url))[0] == 500
    status, answer = await told(http, other)
    assert (status, answer["detail"]) == (404, "Gone.")


# Operations that work.

class AskBody(Body):
    wait = fields.flag(load_default=False)


async def found(request: web.Request, body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"found": "all"}


async def look_up(request: web.Request, body: Mapping[str, Any]) -> Mapping[str, Any]:
    if body["wait"]:
        request.app[BEGUN].set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            request.app[STOPPED].set()
            raise
    return {"found": (await ask(request, PROMPT)).text}


BEGUN, STOPPED = web.AppKey("begun", asyncio.Event), web.AppKey("stopped", asyncio.Event)
OWN = Operation(
    name="own", path="/prepared", stream_path="/prepared/stream", summary="Look it up", body=AskBody, prepare=look_up,
    timeout=0.2, prompt=lambda body: TextPrompt(messages=(Turn("user", body["found"]),), max_tokens=50), example={})


def app_of(operation: Operation, url: str) -> web.Application:
    app = create_app(Settings(base_url=url, shutdown_timeout=0.2), operations=(*OPERATIONS, operation),
                     credentials=fixed("k", "test"))
    app[BEGUN], app[STOPPED] = asyncio.Event(), asyncio.Event()
    return app


async def test_what_is_looked_up_is_in_the_prompt_and_what_takes_too_long_is_stopped(
        http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    key = make_key(requests_per_minute=3)
    claude = await stack.enter_async_context(upstream(whole))
    url = await start(app := app_of(OWN, claude.url), stack)
    async with http.post(f"{url}/prepared", json={}, headers=shown(key)) as response:
        assert response.status == 200
    assert claude.seen[1].body["messages"][0]["content"] == "Hello, wörld"
    async with asyncio.timeout(PATIENCE), http.post(
            f"{url}/prepared", json={"wait": True}, headers=shown(key)) as response:
        answer = await response.json()
    assert response.status == 503 and answer["detail"].endswith("(prepare) took longer than 0.2 s.")
    assert app[STOPPED].is_set() and len(claude.seen) == 2
    async with http.post(f"{url}/prepared", json={}, headers=shown(key)) as response:
        assert response.status == 429  # what is asked to prepare counts beside the operation's own


@pytest.mark.parametrize("path", ["/prepared", "/prepared/stream"])
async def test_a_caller_who_hangs_up_stops_what_is_looked_up(
        path: str, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    url = await start(app := app_of(replace(OWN, timeout=30.0), "http://127.0.0.1:1"), stack)
    asking = asyncio.create_task(http.post(url + path, json={"wait": True}).__aenter__())
    async with asyncio.timeout(PATIENCE):
        await app[BEGUN].wait()
        asking.cancel()
        await app[STOPPED].wait()


@pytest.mark.parametrize("how", ["hang up", "cancel"])
async def test_what_is_looked_up_for_a_frame_keeps_no_other_waiting_and_stops_with_it(
        how: str, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    claude = await stack.enter_async_context(upstream(whole))
    url = await start(app := app_of(replace(OWN, timeout=30.0), claude.url), stack)
    async with asyncio.timeout(PATIENCE), http.ws_connect(f"{url}/ws/generate") as talk:
        await talk.send_json({"type": "own", "id": "1", "wait": True})
        await talk.send_json({"prompt": "Hi"})
        assert (await talk.receive_json())["response"] == "Hello, wörld"
        if how == "cancel":
            await talk.send_json({"type": "cancel", "id": "1"})
            assert (await talk.receive_json())["error"] == "Generation cancelled"
        else:
            await talk.close()
        await app[STOPPED].wait()


async def test_what_is_made_of_an_answer_may_wait_and_fail_and_is_charged(
        http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    async def finish(reply: Reply, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if body["wait"]:
            await asyncio.sleep(60)
        raise errors.Conflict(f"{reply.text} is taken, for {body['found']}.")

    key = make_key(usd=1.0)
    claude = await stack.enter_async_context(upstream(whole))
    url = await start(app_of(replace(OWN, prepare=found, timeout=0.1, finish=finish), claude.url), stack)
    statuses = []
    for wait in (False, True):
        async with asyncio.timeout(PATIENCE), http.post(
                f"{url}/prepared", json={"wait": wait}, headers=shown(key)) as response:
            statuses.append((response.status, (await response.json())["detail"]))
    assert statuses == [(409, "Hello, wörld is taken, for all."),
                        (503, "This server's own work on the request (finish) took longer than 0.1 s.")]
    async with http.get(f"{url}/api/usage", headers=shown(key)) as response:
        assert (await response.json())["budget"]["spent_usd"] > 0


class Mood(Body):
    mood = fields.choice(("glad", "sad"), required=True)
    why = fields.text(most=100)


WANTED = {"type": "object", "properties": {
    "mood": {"type": "string", "enum": ["glad", "sad"]},
    "why": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "At most 100 characters."},
}, "required": ["mood"], "additionalProperties": False}


@pytest.mark.parametrize(("said", "wrong"), [
    ('{"mood": "glad"}', None), ('{"mood": "sad", "why": null}', None),
    ('{"mood": "bored"}', "answer.mood: unexpected value; permitted: 'glad', 'sad'"),
    ('{"why": "So."}', "answer.mood: field required"), ('{"mood": "glad", "more": 1}', "answer.more: extra fields"),
    ("Glad.", "body: "), ("[]", "answer: value is not a valid dict"),
])
@pytest.mark.parametrize("live", [False, True])
async def test_json_that_was_asked_for_fits_or_is_a_failure_that_is_charged(
        live: bool, said: str, wrong: str | None, http: aiohttp.ClientSession, stack: AsyncExitStack) -> None:
    async def answer(connection: Connection) -> None:
        if connection.body.get("stream"):
            return await connection.stream(START + BLOCK + delta(said) + END)
        await connection.answer(200, json.dumps({**MESSAGE, "content": [{"type": "text", "text": said}]}).encode())

    operation = Operation(
        name="mood", path="/mood", stream_path="/mood/stream", summary="Tell the mood", body=AskBody, output=Mood,
        prompt=lambda body: PROMPT, example={})
    key = make_key(usd=1.0)
    claude = await stack.enter_async_context(upstream(answer))
    url = await start(app_of(operation, claude.url), stack)
    path = "/mood/stream" if live else "/mood"
    async with http.post(url + path, json={}, headers=shown(key)) as response:
        answered = await response.text()
    assert claude.seen[0].body["output_config"] == {"format": {"type": "json_schema", "schema": WANTED}}
    assert response.status == (200 if live or wrong is None else 502)
    if wrong is None:
        assert answered.endswith("[DONE]\n\n") if live else '"data":{"mood":"' in answered
    else:
        assert "Claude's answer could not be used" in answered and wrong in answered
        assert not live or ("event: error" in answered and "[DONE]" not in answered)
    async with http.get(f"{url}/api/usage", headers=shown(key)) as response:
        assert (await response.json())["budget"]["spent_usd"] > 0


def test_two_endpoints_of_one_name_or_path_are_refused() -> None:
    def own(**more: Any) -> Endpoint:
        return Endpoint(**{"name": "own", "path": "/own", "handler": once, "summary": "Own", **more})

    assert own() in endpoints(OPERATIONS, [own()])
    with pytest.raises(ValueError, match="2 endpoints called health"):
        endpoints(OPERATIONS, [own(name="health")])
    with pytest.raises(ValueError, match="2 endpoints at GET /health"):
        endpoints(OPERATIONS, [own(path="/health")])
