"""Every route is documented, and every answer that is documented is given, and is what the document says."""
import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aioapp.app import create_app
from aioapp.credentials import find_credentials, fixed
from aioapp.endpoints import endpoints
from aioapp.generation import Batch, Call
from aioapp.settings import Settings
from aioapp.web.endpoint import Endpoint
from tests.conftest import Serve, start
from tests.contract import contract, events
from tests.keyed import database, make_key, shown

UNDOCUMENTED = (
    ("GET", "/guide"), ("GET", "/guide/{page}"), ("GET", "/guide/assets/{name}"),
    ("GET", "/docs"), ("GET", "/redoc"), ("GET", "/docs/assets/{name}"), ("GET", "/openapi.json"), ("GET", "/admin"),
    ("GET", "/admin/assets/{name}"), ("GET", "/admin/session"), ("POST", "/admin/session"),
    ("POST", "/admin/session/end"), *[(method, "/v1/{tail}") for method in ("GET", "POST", "PUT", "PATCH", "DELETE")])
COMPANIONS = ("HEAD", "OPTIONS")
ASKED = [endpoint for endpoint in endpoints() if endpoint.tag == "Claude"]
POSTS = [endpoint for endpoint in ASKED if endpoint.method == "POST"]
STREAMS = [endpoint for endpoint in POSTS if "text/event-stream" in endpoint.answers[200]]
GETS = [endpoint for endpoint in endpoints() if endpoint.method == "GET" and not endpoint.path.startswith("/admin")]
HANDSHAKE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
             "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
REBOUND = {"Host": "rebound.example"}
PROXIED = {"X-Forwarded-For": "203.0.113.9"}
JSON = "application/json"
Build = Callable[[], web.Application]


def simulated(**settings: Any) -> web.Application:
    return create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2, **settings))


def public() -> web.Application:
    return simulated(allow_anonymous=True)


def impatient() -> web.Application:
    return simulated(total_timeout=0.2)


def exclusive() -> web.Application:
    return simulated(cors_origins=("https://ours.example",))


def unauthenticated() -> web.Application:
    nobody = find_credentials({}, loopback=False, home=Path("/nonexistent"), base_url="https://nowhere.invalid")
    return create_app(Settings(), credentials=nobody)


def faulty() -> web.Application:
    async def generate(call: Call) -> AsyncGenerator[Batch, None]:
        yield [] if call.prompt.max_tokens / 0 else []

    return create_app(Settings(), upstream=generate, credentials=fixed("sk-canary-key", "ANTHROPIC_API_KEY"))


def keyed() -> web.Application:
    make_key()
    return simulated()


def shut() -> web.Application:
    """A server whose database is none."""
    database().parent.mkdir()
    database().write_text("This is no database.")
    return simulated()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a POST gets an answer: from which server, and what is changed in a body that any would take."""

    build: Build = simulated
    body: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    def sent(self, endpoint: Endpoint) -> BytesIO:
        return BytesIO(json.dumps({**endpoint.example, **self.body}).encode() if self.raw is None else self.raw)


WAYS: list[tuple[int, Way]] = [
    (200, Way()),
    (200, Way(body={"model": "simulate-refusal", "temperature": 0.5})),
    (400, Way(body={"model": "claude-nonesuch-5-5"})),
    (401, Way(build=keyed)),
    (403, Way(headers={"Host": "rebound.example"})),
    (413, Way(raw=b" " * (2**20 + 1))),
    (415, Way(content_type="text/plain")),
    (422, Way(raw=b"{}")),
    (429, Way(body={"model": "simulate-429"})),
    (500, Way(build=faulty)),
    (502, Way(body={"model": "simulate-500"})),
    (503, Way(body={"model": "simulate-529"})),
    (503, Way(build=unauthenticated)),
    (503, Way(build=shut)),
    (504, Way(build=impatient, body={"model": "simulate-slow"})),
]
TERMS: list[tuple[int, dict[str, Any]]] = [
    (200, {"requests_per_minute": 1, "tokens_per_minute": 50_000, "concurrency": 1}),
    (400, {"tokens_per_minute": 1}),
    (400, {"usd": 1e-9}),
    (402, {"usd": 1, "spent": 1}),
    (403, {"models": ("claude-haiku-*",)}),
]
READS: list[tuple[str, int, Build, dict[str, str]]] = [
    ("/", 200, simulated, {}),
    ("/", 400, public, {"Host": "a b"}),
    ("/", 403, simulated, REBOUND),
    ("/health", 200, simulated, {}),
    ("/health", 403, simulated, REBOUND),
    ("/health", 503, unauthenticated, {}),
    ("/health", 503, shut, {}),
    ("/health/ready", 200, simulated, {}),
    ("/health/ready", 403, simulated, REBOUND),
    ("/health/ready", 503, unauthenticated, {}),
    ("/health/ready", 503, shut, {}),
    ("/health/live", 200, unauthenticated, {}),
    ("/health/live", 403, simulated, REBOUND),
    ("/auth-status", 200, simulated, {}),
    ("/auth-status", 200, unauthenticated, {}),
    ("/auth-status", 401, keyed, {}),
    ("/auth-status", 403, simulated, REBOUND),
    ("/auth-status", 503, shut, {}),
    ("/api/usage", 200, simulated, {}),
    ("/api/usage", 401, keyed, {}),
    ("/api/usage", 403, simulated, REBOUND),
    ("/api/usage", 503, shut, {}),
    ("/metrics", 200, simulated, {}),
    ("/metrics", 401, keyed, PROXIED),
    ("/metrics", 403, simulated, PROXIED),
    ("/metrics", 503, shut, PROXIED),
    ("/ws/generate", 101, simulated, HANDSHAKE),
    ("/ws/generate", 101, keyed, HANDSHAKE),
    ("/ws/generate", 401, keyed, {}),
    ("/ws/generate", 401, keyed, {**HANDSHAKE, "X-API-Key": "aio_nonesuch"}),
    ("/ws/generate", 503, shut, HANDSHAKE),
    ("/ws/generate", 403, exclusive, {**HANDSHAKE, "Origin": "https://theirs.example"}),
    ("/ws/generate", 426, simulated, {}),
]


def test_every_route_is_documented_or_known_not_to_be() -> None:
    routes = {(route.method, route.resource.canonical) for route in simulated().router.routes() if route.resource}
    documented = {(method.upper(), path) for path, method, _ in contract().operations()}
    assert {(method, path) for method, path in routes if method not in COMPANIONS} == {
        *documented, *UNDOCUMENTED}


@pytest.mark.parametrize(("status", "way"), WAYS, ids=[f"{status}-{n}" for n, (status, _) in enumerate(WAYS)])
async def test_every_post_gives_this_answer_as_it_is_documented(
        http: aiohttp.ClientSession, stack: AsyncExitStack, status: int, way: Way) -> None:
    url = await start(way.build(), stack)

    async def ask(endpoint: Endpoint) -> None:
        headers = {"Content-Type": way.content_type, **way.headers}
        async with http.post(url + endpoint.path, data=way.sent(endpoint), headers=headers) as response:
            assert response.status == status, await response.text()
            await contract().check_response(endpoint.path, response)

    await asyncio.gather(*map(ask, POSTS))


@pytest.mark.parametrize(("status", "terms"), TERMS, ids=lambda value: str(value)[:20])
async def test_every_post_answers_a_key_by_its_terms_as_it_is_documented(
        http: aiohttp.ClientSession, stack: AsyncExitStack, status: int, terms: dict[str, Any]) -> None:
    keys = {endpoint.name: shown(make_key(endpoint.name, **terms)) for endpoint in POSTS}
    url = await start(simulated(), stack)

    async def ask(endpoint: Endpoint, status: int) -> None:
        url_of = url + endpoint.path
        async with http.post(url_of, json=dict(endpoint.example), headers=keys[endpoint.name]) as response:
            assert response.status == status, await response.text()
            await contract().check_response(endpoint.path, response)

    await asyncio.gather(*(ask(endpoint, status) for endpoint in POSTS))
    if status == 200:
        await asyncio.gather(*(ask(endpoint, 429) for endpoint in POSTS))


@pytest.mark.parametrize(("path", "status", "build", "headers"), READS, ids=lambda value: str(value)[:20])
async def test_every_get_gives_this_answer_as_it_is_documented(
        http: aiohttp.ClientSession, stack: AsyncExitStack, path: str, status: int, build: Build,
        headers: dict[str, str]) -> None:
    async with http.get(await start(build(), stack) + path, headers=headers) as response:
        assert response.status == status
        await contract().check_response(path, response)
        response.close()


def test_no_other_answer_is_documented() -> None:
    """Only our own fault on a GET is left out: nothing that a caller does brings one about."""
    for endpoint in POSTS:
        assert contract().statuses(endpoint.path, "post") == {status for status, _ in (*WAYS, *TERMS)}
    for path in {path for path, *_ in READS}:
        assert contract().statuses(path, "get") == {500, *(status for read, status, *_ in READS if read == path)}


@pytest.mark.parametrize("endpoint", GETS, ids=lambda endpoint: endpoint.name)
async def test_head_answers_as_get_does_but_for_the_body(
        serve: Serve, http: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    url = await serve() + endpoint.path.replace("{name}", "redoc.js")
    async with http.get(url) as got, http.head(url) as head:
        assert (head.status, head.content_type) == (got.status, got.content_type)
        assert (await head.read(), bool(await got.read())) == (b"", True)


@pytest.mark.parametrize("endpoint", POSTS, ids=lambda endpoint: endpoint.name)
async def test_every_post_refuses_an_empty_body(
        serve: Serve, http: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    async with http.post(await serve() + endpoint.path, headers={"Content-Type": JSON}) as response:
        assert response.status == 422
        [row] = (await response.json())["detail"]
    assert row == {"loc": ["body"], "msg": row["msg"], "type": "value_error.jsondecode"}


@pytest.mark.parametrize("endpoint", POSTS, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("content_type", ["", "text/json", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_every_post_refuses_what_is_not_sent_as_json(
        serve: Serve, http: aiohttp.ClientSession, endpoint: Endpoint, content_type: str) -> None:
    raw = json.dumps(dict(endpoint.example)).encode()
    headers = {"Content-Type": content_type}
    async with http.post(await serve() + endpoint.path, data=raw, headers=headers) as response:
        assert response.status == 415
        told = await response.json()
    assert set(told) == {"success", "error", "detail", "timestamp", "request_id"}
    assert told["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize("endpoint", POSTS, ids=lambda endpoint: endpoint.name)
async def test_every_post_refuses_a_field_that_it_does_not_know(
        serve: Serve, http: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    async with http.post(await serve() + endpoint.path, json={**endpoint.example, "nonesuch": 1}) as response:
        assert response.status == 422
        assert await response.json() == {"detail": [
            {"loc": ["body", "nonesuch"], "msg": "extra fields not permitted", "type": "value_error.extra"}]}


@pytest.mark.parametrize("endpoint", STREAMS, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize(("model", "last"), [
    ("claude-sonnet-5-5", "done"), ("simulate-refusal", "done"), ("simulate-cut", "error"), ("simulate-error", "error"),
])
async def test_every_event_of_a_stream_is_as_it_is_documented(
        serve: Serve, http: aiohttp.ClientSession, endpoint: Endpoint, model: str, last: str) -> None:
    body = {**endpoint.example, "model": model, "format": "events"}
    async with http.post(await serve() + endpoint.path, json=body) as response:
        await contract().check_response(endpoint.path, response)
        names = [event["event"] for event in events(await response.text())]
    assert (names[0], names[-1], set(names[1:-1]) <= {"delta"}) == ("start", last, True)


@pytest.mark.parametrize("frame", [
    {"prompt": "Hi"}, {"type": "chat", "message": "Hi", "id": "1"}, {"prompt": "Hi", "id": "1", "stream": True},
    {"type": "chat", "message": "Hi", "stream": True}, {"prompt": "Hi", "model": "simulate-refusal", "id": "1"},
    {"prompt": "Hi", "model": "simulate-error", "stream": True, "id": "1"}, {"type": "cancel", "id": "1"},
    {"prompt": "Hi", "model": "claude-nonesuch-5-5"},
], ids=json.dumps)
async def test_every_frame_of_a_socket_is_as_it_is_documented(
        serve: Serve, http: aiohttp.ClientSession, frame: dict[str, Any]) -> None:
    contract().check_named(frame, "SocketRequest")
    async with http.ws_connect(f"{await serve()}/ws/generate") as socket:
        await socket.send_json(frame)
        answers = [await socket.receive_json()]
        while answers[-1].get("type") in ("start", "delta"):
            answers.append(await socket.receive_json())
    for answer in answers:
        contract().check_named(answer, "SocketFrame")


@pytest.mark.parametrize("sent", [
    "", "[]", "{}", '{"prompt": " "}', '{"prompt": "Hi", "id": ""}', '{"prompt": 1, "id": "1"}', '{"type": "nonesuch"}',
])
async def test_the_refusal_of_a_frame_is_documented_too(
        serve: Serve, http: aiohttp.ClientSession, sent: str) -> None:
    async with http.ws_connect(f"{await serve()}/ws/generate") as socket:
        await socket.send_str(sent)
        contract().check_named(await socket.receive_json(), "ErrorFrame")
