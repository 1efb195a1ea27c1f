"""Anthropic's API, passed on: bytes in both directions, refusals in its shape, and the same door as for everything."""
import asyncio
import gzip
import json
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy
from yarl import URL

from aioapp.app import create_app
from aioapp.credentials import Credentials, fixed
from aioapp.endpoints.v1 import V1
from aioapp.messages.event_parser import BOM
from aioapp.settings import Settings
from aioapp.web.context import SERVICES
from tests.conftest import Serve, start, with_services
from tests.keyed import make_key, shown
from tests.upstreams import BLOCK, END, MESSAGE, START, Connection, delta, frame, stream_of, upstream, whole

JSON = "application/json"
ASKED: dict[str, Any] = {
    "model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
OURS = {"Date", "Server", "X-Request-ID", "X-Process-Time", "Cache-Control", "X-Accel-Buffering", "Vary",
        "Content-Length", "Transfer-Encoding", "RateLimit", "RateLimit-Policy"}

CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
TOOL = (START + frame("content_block_start", index=0, content_block=CALL)
        + frame("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": ""})
        + frame("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"a": "ü'})
        + frame("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '"}'}) + END)
THINKING = (START + frame("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
            + frame("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm"})
            + frame("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "EqoB"}) + END)
REFUSAL = (START + frame("message_delta", delta={"stop_reason": "refusal"}, usage={"output_tokens": 0})
           + frame("message_stop"))
UNHEARD = (b": a comment of Claude's\n\n" + START + frame("ping") + frame("unheard_of", list=[1, {"a": None}]) + BLOCK
           + b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}  \n\n" + delta("a") + END)
OUT_OF_ORDER = START + delta("before its block") + frame("content_block_stop", index=9) + END
HALF = START + BLOCK + delta("and then nothing")
STREAMS = {"text": stream_of("Hello, ", "wörld"), "tool": TOOL, "thinking": THINKING, "refusal": REFUSAL,
           "unheard": UNHEARD, "out of order": OUT_OF_ORDER, "half": HALF}
SPELLINGS = {
    "as it is": lambda data: data, "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "CR": lambda data: data.replace(b"\n", b"\r"), "BOM": lambda data: BOM + data,
    "without its last blank line": lambda data: data.rstrip(b"\n"),
    "CRLF without its last blank line": lambda data: data.rstrip(b"\n").replace(b"\n", b"\r\n"),
}
CUTS = {"whole": 10**6, "a byte": 1, "seven": 7, "a hundred": 100}


async def asked(http: aiohttp.ClientSession, url: str, **more: Any) -> tuple[int, CIMultiDictProxy[str], bytes]:
    body = BytesIO(json.dumps({**ASKED, **more.pop("body", {})}).encode())
    async with http.post(f"{url}/v1/messages", data=body,
                         headers={"Content-Type": JSON, **more.pop("headers", {})}) as response:
        return response.status, response.headers, await response.read()


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_stream_comes_back_byte_for_byte(
        serve: Serve, http: aiohttp.ClientSession, spelling: str, cut: str) -> None:
    streams, size = [SPELLINGS[spelling](data) for data in STREAMS.values()], CUTS[cut]

    def sending(data: bytes) -> Any:
        async def script(connection: Connection) -> None:
            await connection.stream(*[data[at:at + size] for at in range(0, len(data), size)])

        return script

    async with upstream(*map(sending, streams)) as server:
        url = await serve(server.url)
        for data in streams:
            status, headers, body = await asked(http, url, body={"stream": True})
            assert (status, body) == (200, data)
            assert headers["Content-Type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize("body", [json.dumps(MESSAGE).encode(), b'{"odd":  1.0e5, "a":"\\u00fc"}\n', b"{}"])
async def test_an_answer_in_one_piece_comes_back_byte_for_byte(
        serve: Serve, http: aiohttp.ClientSession, body: bytes) -> None:
    async def script(connection: Connection) -> None:
        await connection.answer(200, body, request_id="req_1")

    async with upstream(script) as server:
        status, headers, got = await asked(http, await serve(server.url))
    assert (status, got, headers["request-id"]) == (200, body, "req_1")


async def test_a_body_goes_on_byte_for_byte_with_its_query_and_its_own_headers(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    body = (b' {"model":"claude-sonnet-5-5" , "max_tokens": 1,"new_field":[1.0,{"a":null}],'
            b'"messages":"\\u00fc\\ud83d\\ude00"}\n')
    given = {"anthropic-version": "2023-06-01", "anthropic-beta": "one,two", "anthropic-dangerous": "yes",
             "X-Stainless-Lang": "python", "x-claude-code-session": "7", "x-app": "cli", "User-Agent": "me/1.0",
             "Accept": "text/event-stream", "Content-Type": JSON}
    key = make_key()
    ours = {"X-API-Key": key, "Cookie": "a=b", "Forwarded": "for=1.2.3.4", "X-Forwarded-For": "1.2.3.4", "Via": "1.1 x",
            "Accept-Encoding": "gzip", "X-Request-ID": "mine", "Origin": "http://a.example", "TE": "trailers",
            "x-app-secret": "1", "Connection": "keep-alive, x-stainless-hop", "x-stainless-hop": "1"}
    async with upstream(whole) as server:
        url = await serve(server.url)
        url_asked = URL(f"{url}/v1/messages?beta=true&a=%2F%20b", encoded=True)
        async with http.post(url_asked, data=body, headers={**given, **ours}) as response:
            assert response.status == 200
    [seen] = server.seen
    assert (seen.head, seen.raw) == ("POST /v1/messages?beta=true&a=%2F%20b HTTP/1.1", body)
    assert seen.headers == {
        **{name.lower(): value for name, value in given.items()}, "authorization": "Bearer sk-canary-key",
        "host": seen.headers["host"], "accept-encoding": "identity", "content-length": str(len(body))}


async def test_the_betas_of_the_caller_and_those_that_our_credentials_need_are_one_list(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as server:
        app = create_app(Settings(base_url=server.url, shutdown_timeout=0.2), credentials=OAuth())
        await asked(http, await start(app, stack), headers={"anthropic-beta": "one"})
    assert server.seen[0].headers["anthropic-beta"] == "one,oauth-2025-04-20"


class OAuth:
    """Credentials that bring a beta of their own."""

    base_url = None

    def __init__(self) -> None:
        self._fixed: Credentials = fixed("k", "test")

    def status(self) -> Any:
        return self._fixed.status()

    async def headers(self) -> dict[str, str]:
        return {"Authorization": "Bearer k", "anthropic-beta": "oauth-2025-04-20"}

    def refused(self, headers: Any) -> bool:
        return False

    def accepted(self) -> None:
        pass


async def test_trap_4_a_query_is_not_decoded(serve: Serve, http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as server:
        url = await serve(server.url)
        async with http.post(URL(f"{url}/v1/messages?x=%2F&y=%C3%BC+%26", encoded=True), json=ASKED) as response:
            assert response.status == 200
    assert server.seen[0].head.split()[1] == "/v1/messages?x=%2F&y=%C3%BC+%26"


async def test_trap_5_a_large_body_is_taken_here_and_nowhere_else(serve: Serve, http: aiohttp.ClientSession) -> None:
    large = {"messages": [{"role": "user", "content": "x" * (5 * 2**20)}]}
    async with upstream(whole) as server:
        url = await serve(server.url)
        assert (await asked(http, url, body=large))[0] == 200
        packed = gzip.compress(json.dumps(ASKED).encode())
        async with http.post(f"{url}/v1/messages", data=packed, headers={"Content-Encoding": "gzip"}) as response:
            assert (response.status, (await response.json())["error"]["message"]) == (
                400, "Send the body as it is, without the header Content-Encoding.")
        async with http.post(f"{url}/api/generate", data=BytesIO(json.dumps({"prompt": "Hi", **large}).encode()),
                             headers={"Content-Type": JSON}) as response:
            assert response.status == 413
    assert len(server.seen[0].raw) > 5 * 2**20
    assert len(server.seen) == 1


@pytest.mark.parametrize("body", [
    b'{"model":"claude-haiku-5-5","model":"claude-opus-5-5","max_tokens":1}',
    b'{"model":"claude-haiku-5-5","mod\\u0065l":"claude-opus-5-5","max_tokens":1}',
    b'{"max_tokens":1,"model":"claude-haiku-5-5","fallbacks":[{"model":"a","model":"b"}]}'])
async def test_trap_6_a_name_that_comes_twice_is_refused(
        serve: Serve, http: aiohttp.ClientSession, body: bytes) -> None:
    async with upstream(whole) as server:
        url = await serve(server.url)
        async with http.post(f"{url}/v1/messages", data=body) as response:
            assert (response.status, (await response.json())["error"]["type"]) == (400, "invalid_request_error")
    assert not server.seen


@pytest.mark.parametrize("more", [
    {"model": "claude-opus-5-5"}, {"fallbacks": [{"model": "claude-haiku-5-5"}, {"model": "claude-opus-5-5"}]},
    {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5-5"}]},
    {"tools": [{"type": "x", "config": {"deep": [{"model": "claude-opus-5-5"}]}}]},
    {"new_field": {"small_model": "claude-opus-5-5"}}, {"fallbacks": {"model": {"id": "claude-opus-5-5"}}}])
async def test_trap_7_every_model_that_a_body_names_is_looked_at(
        serve: Serve, http: aiohttp.ClientSession, more: dict[str, Any]) -> None:
    key = shown(make_key(models=("claude-haiku-*",)))
    async with upstream(whole) as server:
        url = await serve(server.url)
        status, _, body = await asked(http, url, headers=key, body={"model": "claude-haiku-5-5", **more})
        assert (status, json.loads(body)["error"]["type"]) == (403, "permission_error")
        assert "claude-opus-5-5" in json.loads(body)["error"]["message"]
        fine = {"tools": [{"name": "f", "input_schema": {"properties": {"model": {"default": "claude-opus-5-5"}}}}]}
        assert (await asked(http, url, headers=key, body={"model": "claude-haiku-5-5", **fine}))[0] == 200
    assert len(server.seen) == 1


async def test_trap_9_nothing_is_written_before_claude_has_said_something(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    async def late(connection: Connection) -> None:
        await asyncio.sleep(0.2)
        await connection.answer(529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')

    async with upstream(late) as server:
        app = with_services(create_app(Settings(base_url=server.url, shutdown_timeout=0.2),
                                       credentials=fixed("k", "test")), heartbeat=0.02)
        status, _, body = await asked(http, await start(app, stack), body={"stream": True})
    assert (status, json.loads(body)["error"]["message"]) == (529, "Overloaded")


async def test_a_silent_stream_is_kept_alive_between_its_frames(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    data = stream_of("Hello")

    async def halting(connection: Connection) -> None:
        await connection.begin()
        await connection.chunk(data[:-20])
        await asyncio.sleep(0.2)
        await connection.chunk(data[-20:])
        await connection.finish()

    async with upstream(halting) as server:
        app = with_services(create_app(Settings(base_url=server.url, shutdown_timeout=0.2),
                                       credentials=fixed("k", "test")), heartbeat=0.02)
        _, _, body = await asked(http, await start(app, stack), body={"stream": True})
    assert b": still here\n\n" in body and body.replace(b": still here\n\n", b"") == data


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/v1/messages/batches/msgbatch_1/results", "/v1/files"])
async def test_trap_10_batches_and_files_are_not_there_and_it_is_said_why(
        serve: Serve, http: aiohttp.ClientSession, path: str) -> None:
    async with upstream(whole) as server, http.post(await serve(server.url) + path, json={}) as response:
        assert (response.status, response.headers["x-should-retry"]) == (404, "false")
        said = await response.json()
    assert said["error"]["type"] == "not_found_error" and "account" in said["error"]["message"]
    assert not server.seen


@pytest.mark.parametrize("stream", [True, False])
async def test_trap_11_what_is_no_json_is_not_passed_on(
        serve: Serve, http: aiohttp.ClientSession, stream: bool) -> None:
    async def proxy(connection: Connection) -> None:
        await connection.answer(403, b"<h1>squid at 10.1.2.3</h1>", content_type="text/html")

    async with upstream(proxy) as server:
        status, _, body = await asked(http, await serve(server.url), body={"stream": stream})
    assert b"squid" not in body and json.loads(body)["type"] == "error"
    assert status == 500


@pytest.mark.parametrize(("more", "message"), [
    ({"max_tokens": None}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
    ({"model": 5}, "model: Input should be a valid string")])
async def test_trap_12_what_must_be_known_is_asked_for_in_claudes_words(
        serve: Serve, http: aiohttp.ClientSession, more: dict[str, Any], message: str) -> None:
    async with upstream(whole) as server:
        url = await serve(server.url)
        status, _, body = await asked(http, url, body=more)
        assert (status, json.loads(body)["error"]["message"]) == (400, message)
        for name in ("model", "max_tokens"):
            async with http.post(f"{url}/v1/messages", json={
                    key: value for key, value in ASKED.items() if key != name}) as response:
                assert (await response.json())["error"]["message"] == f"{name}: Field required"
        assert (await asked(http, url, body={"max_tokens": 0, "stream": 1}))[0] == 200
    assert len(server.seen) == 1


# The same door: whoever is refused is told in Anthropic's shape, on each of its paths.

ROUTES = sorted({(endpoint.method, endpoint.path.replace("{id}", "claude-haiku-5-5").replace("{tail:.*}", "nonesuch"))
                 for endpoint in V1 if endpoint.path.startswith("/v1")})


async def refusal(http: aiohttp.ClientSession, method: str, url: str, **headers: str) -> tuple[int, str, str | None]:
    body = None if method == "GET" else json.dumps(ASKED)
    async with http.request(method, url, data=body, headers={"Content-Type": JSON, **headers}) as response:
        said = await response.json()
    assert said.keys() == {"type", "error", "request_id"} and said["type"] == "error", said
    assert said["error"].keys() == {"type", "message"} and said["error"]["message"]
    assert said["request_id"] == response.headers["X-Request-ID"]
    return response.status, said["error"]["type"], response.headers.get("x-should-retry")


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_tells_every_refusal_in_anthropics_shape(
        serve: Serve, http: aiohttp.ClientSession, method: str, path: str) -> None:
    keys = {
        "spent": make_key("spent", usd=1, spent=2), "limited": make_key("limited", requests_per_minute=1),
        "narrow": make_key("narrow", models=("claude-opus-*",)), "good": make_key("good")}
    async with upstream(whole) as server:
        url = await serve(server.url) + path
        assert await refusal(http, method, url) == (401, "authentication_error", "false")
        assert await refusal(http, method, url, **shown("nonsense")) == (401, "authentication_error", "false")
        assert await refusal(http, "PATCH", url, **shown(keys["good"])) in (
            (405, "invalid_request_error", None), (404, "not_found_error", "false"))
        if "nonesuch" in path:
            return
        if method == "POST":
            assert await refusal(http, method, url, **shown(keys["narrow"])) == (403, "permission_error", None)
        if path == "/v1/messages":
            assert await refusal(http, method, url, **shown(keys["spent"])) == (402, "billing_error", "false")
        async with http.request(method, url, json=ASKED, headers=shown(keys["limited"])) as response:
            await response.read()
        async with http.request(method, url, json=ASKED, headers=shown(keys["limited"])) as response:
            assert 1 <= int(response.headers["Retry-After"]) <= 61
        assert await refusal(http, method, url, **shown(keys["limited"])) == (429, "rate_limit_error", None)


FAULTS = {
    "not there": (502, "api_error", None), "cut": (502, "api_error", None), "silent": (504, "timeout_error", None),
    "nonsense": (502, "api_error", None), "our key": (500, "api_error", "false")}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if "nonesuch" not in route[1]])
async def test_what_claude_does_wrong_is_told_in_anthropics_shape(
        stack: AsyncExitStack, http: aiohttp.ClientSession, method: str, path: str, fault: str) -> None:
    async def script(connection: Connection) -> None:
        match fault:
            case "cut":
                connection.cut()
            case "silent":
                await connection.gone.wait()
            case "nonsense":
                await connection.answer(200, b"<html>", content_type="text/html")
            case "our key":
                await connection.answer(401, b'{"type":"error","error":{"type":"authentication_error","message":"no"}}')

    async with upstream(script) as server:
        settings = Settings(base_url="http://127.0.0.1:1" if fault == "not there" else server.url,
                            shutdown_timeout=0.2, total_timeout=0.3)
        app = create_app(settings, credentials=fixed("k", "test"))
        assert await refusal(http, method, await start(app, stack) + path) == FAULTS[fault]


@pytest.mark.parametrize("status", [400, 402, 403, 404, 413, 429, 500, 529])
@pytest.mark.parametrize("stream", [True, False])
async def test_claudes_refusals_come_word_for_word_and_at_once(
        serve: Serve, http: aiohttp.ClientSession, status: int, stream: bool) -> None:
    said = b'{"type":"error", "error":{"type":"odd_error","message":"prompt is too long: 5 > 4"},"request_id":"req_7"}'

    async def refusing(connection: Connection) -> None:
        await connection.answer(
            status, said, request_id="req_7", retry_after="17.5", x_should_retry="true", anthropic_organization_id="o",
            anthropic_ratelimit_tokens_limit="5", anthropic_new="1", set_cookie="a=b", via="1.1 proxy", cf_ray="1")

    async with upstream(refusing) as server:
        got, headers, body = await asked(http, await serve(server.url), body={"stream": stream})
    assert (got, body, len(server.seen)) == (status, said, 1)
    theirs = {name.lower(): value for name, value in headers.items() if name not in OURS}
    assert theirs == {"content-type": JSON, "request-id": "req_7", "retry-after": "17.5", "x-should-retry": "true",
                      "anthropic-new": "1"}


async def test_an_error_in_the_middle_of_a_stream_is_passed_on_and_is_a_failure_in_the_accounts(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    data = START + BLOCK + delta("Hel") + frame("error", error={"type": "overloaded_error", "message": "Overloaded"})

    async def stumbling(connection: Connection) -> None:
        await connection.stream(data)

    async with upstream(stumbling) as server:
        url = await serve(server.url)
        assert (await asked(http, url, body={"stream": True}))[2] == data
        async with http.get(f"{url}/api/usage") as response:
            today = (await response.json())["today"]
    assert (today["requests"], today["failed"], today["input_tokens"]) == (1, 1, 7)


async def test_a_stream_that_is_cut_ends_with_an_error_of_ours_behind_whole_frames(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async def cutting(connection: Connection) -> None:
        await connection.begin()
        await connection.chunk(START + BLOCK + delta("Hel")[:-10])
        connection.cut()

    async with upstream(cutting) as server:
        status, _, body = await asked(http, await serve(server.url), body={"stream": True})
    assert status == 200 and body.startswith(START + BLOCK + b"event: error\ndata: ")
    assert json.loads(body.rpartition(b"data: ")[2])["error"]["type"] == "api_error"


@pytest.mark.parametrize("headers", [
    lambda key: {"X-API-Key": key}, lambda key: {"Authorization": f"Bearer {key}"},
    lambda key: {"X-API-Key": key, "Authorization": f"Bearer {key}"},
    lambda key: {"X-API-Key": "", "Authorization": f"Bearer {key}"}])
async def test_a_key_is_shown_as_each_client_does(serve: Serve, http: aiohttp.ClientSession, headers: Any) -> None:
    key = make_key()
    async with upstream(whole) as server:
        url = await serve(server.url)
        assert (await asked(http, url, headers=headers(key)))[0] == 200
        assert (await asked(http, url, headers=headers("")))[0] == 401
    [seen] = server.seen
    assert key not in seen.head + str(seen.headers) and seen.headers["authorization"] == "Bearer sk-canary-key"


@pytest.mark.parametrize("stream", [True, False])
async def test_what_was_relayed_is_in_the_accounts_the_limits_and_the_metrics(
        serve: Serve, http: aiohttp.ClientSession, stream: bool) -> None:
    key = shown(make_key(usd=1, tokens_per_minute=100_000, requests_per_minute=10, concurrency=2))
    async with upstream(whole) as server:
        url = await serve(server.url)
        _, headers, _ = await asked(http, url, headers=key, body={"stream": stream})
        assert '"requests";r=9' in headers["RateLimit"]
        async with http.get(f"{url}/api/usage", headers=key) as response:
            own = await response.json()
        async with http.get(f"{url}/metrics") as response:
            counted = await response.text()
    assert (own["today"]["requests"], own["today"]["tokens"], own["models"][0]["model"]) == (1, 17, "claude-sonnet-5-5")
    assert own["budget"]["spent_usd"] == own["today"]["cost_usd"] > 0
    assert 'aioapp_generations_total{model="claude-sonnet-5-5*",outcome="completed"} 1.0' in counted


async def test_models_are_those_that_the_key_may_use_a_page_at_a_time(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    every = [{"id": f"claude-{name}", "type": "model", "display_name": name} for name in ("a1", "b1", "a2", "b2", "a3")]

    async def listing(connection: Connection) -> None:
        query = URL(connection.head.split()[1]).query
        begin = next((n + 1 for n, model in enumerate(every) if model["id"] == query.get("after_id")), 0)
        page = every[begin:begin + 2]
        await connection.answer(200, json.dumps({
            "data": page, "has_more": begin + 2 < len(every), "first_id": page[0]["id"],
            "last_id": page[-1]["id"]}).encode())

    async def page(url: str, key: dict[str, str], query: str) -> tuple[list[str], bool]:
        async with http.get(f"{url}/v1/models{query}", headers=key) as response:
            said = await response.json()
        ids = [model["id"] for model in said["data"]]
        assert (said["first_id"], said["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        return ids, said["has_more"]

    narrow, wide = shown(make_key("narrow", models=("claude-a*",))), shown(make_key("wide"))
    async with upstream(listing) as server:
        url = await serve(server.url)
        assert await page(url, wide, "?limit=2&after_id=claude-b1") == (["claude-a2", "claude-b2"], True)
        assert await page(url, narrow, "?limit=1000") == (["claude-a1", "claude-a2", "claude-a3"], False)
        assert await page(url, narrow, "?limit=2") == (["claude-a1", "claude-a2"], True)
        assert await page(url, narrow, "?limit=2&after_id=claude-a2") == (["claude-a3"], False)
        assert await page(url, narrow, "?limit=1&before_id=claude-a3") == (["claude-a2"], True)
        async with http.get(f"{url}/v1/models/claude-b1", headers=narrow) as response:
            assert response.status == 403
        async with http.get(f"{url}/v1/models?limit=0", headers=narrow) as response:
            assert response.status == 400


async def test_tokens_are_counted_for_one_request_and_nothing_else(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async def counting(connection: Connection) -> None:
        await connection.answer(200, b'{"input_tokens": 12 }', request_id="req_1")

    key = shown(make_key(requests_per_minute=10, tokens_per_minute=1, concurrency=1, usd=1))
    body = b'{"model":"claude-sonnet-5-5", "messages":[] }'
    async with upstream(counting) as server:
        url = await serve(server.url)
        async with http.post(f"{url}/v1/messages/count_tokens?beta=true", data=body, headers=key) as response:
            assert (response.status, await response.read()) == (200, b'{"input_tokens": 12 }')
            assert response.headers["request-id"] == "req_1" and '"requests";r=9' in response.headers["RateLimit"]
        async with http.get(f"{url}/api/usage", headers=key) as response:
            assert (await response.json())["today"]["requests"] == 0
    assert (server.seen[0].head, server.seen[0].raw) == ("POST /v1/messages/count_tokens?beta=true HTTP/1.1", body)


async def test_a_connection_can_be_warmed_without_a_key(serve: Serve, http: aiohttp.ClientSession) -> None:
    make_key()
    url = await serve()
    for path in ("/", "/api/hello"):
        async with http.head(url + path) as response:
            assert response.status == 200


async def test_what_the_server_ends_is_told_as_overloaded(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Clients send it again, and another server takes it."""
    async with upstream(whole) as server:
        app = create_app(Settings(base_url=server.url, shutdown_timeout=0.2), credentials=fixed("k", "test"))
        async with AsyncExitStack() as stack:
            url = await start(app, stack)
            app[SERVICES].drain.refusing = True
            status, headers, body = await asked(http, url)
    assert (status, json.loads(body)["error"]["type"]) == (529, "overloaded_error")
    assert headers["Retry-After"] == "1"
