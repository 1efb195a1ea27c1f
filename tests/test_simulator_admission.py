"""Credentials, paths, methods and headers."""
import asyncio

import pytest
from aiohttp import ClientSession
from yarl import URL

from tests.simulated import OLD, Json, body, connected, running

base = pytest.fixture(running)
http = pytest.fixture(connected)


@pytest.mark.parametrize(("headers", "status", "message"), [
    ({}, 401, "x-api-key header is required"),
    ({"x-api-key": ""}, 401, "x-api-key header is required"),
    ({"authorization": "Basic abc"}, 401, "x-api-key header is required"),
    ({"x-api-key": "an-invalid-key"}, 401, "invalid x-api-key"),
    ({"authorization": "Bearer invalid"}, 401, "Invalid bearer token"),
    ({"x-api-key": "k"}, 400, "anthropic-version: header is required"),
    ({"x-api-key": "k", "anthropic-version": "1999-01-01"}, 400,
     'anthropic-version: "1999-01-01" is not a valid version'),
    ({"authorization": "bearer token", **OLD}, 200, None),
])
async def test_credentials_and_version_are_asked_for(base: str, headers: Json, status: int, message: str) -> None:
    async with ClientSession(base, headers=headers) as session, session.get("/v1/models") as response:
        assert (response.status, (await response.json()).get("error", {}).get("message")) == (status, message)


async def test_unknown_paths_and_wrong_methods_are_refused_in_claudes_shape(base: str) -> None:
    async with ClientSession(base) as session:
        for method, path, status, kind in [("GET", "/v1/nothing", 404, "not_found_error"),
                                           ("DELETE", "/v1/messages", 405, "invalid_request_error")]:
            async with session.request(method, path) as response:
                answer = await response.json()
            assert (response.status, answer["type"], answer["error"]["type"]) == (status, "error", kind)
            assert answer["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize("path", ["/", "/api/hello"])
async def test_a_greeting_is_answered_to_get_and_head_without_credentials(base: str, path: str) -> None:
    async with ClientSession(base) as session:
        async with session.get(path) as got, session.head(path) as headed:
            assert (got.status, headed.status) == (200, 200)
            assert headed.headers["request-id"].startswith("req_")


async def test_answers_carry_request_id_organization_and_rate_limits(http: ClientSession) -> None:
    async with http.post("/v1/messages", json=body()) as answer, http.get("/v1/models") as other:
        for response in (answer, other):
            assert response.headers["request-id"].startswith("req_")
            assert response.headers["anthropic-organization-id"]
        for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
            name = f"anthropic-ratelimit-{kind}-"
            assert int(answer.headers[name + "limit"]) > int(answer.headers[name + "remaining"]) > 0
            assert answer.headers[name + "reset"].endswith("Z") and name + "reset" not in other.headers


@pytest.mark.parametrize(("method", "path", "more", "status"), [
    ("GET", "/v1/models/missing-one", {}, 404), ("GET", "/v1/models", {"params": {"limit": "0"}}, 400),
    ("POST", "/v1/messages", {"data": b"{"}, 400), ("POST", "/v1/messages/count_tokens", {"json": {}}, 400),
    ("POST", "/v1/messages", {"json": body(model="missing-one")}, 404), ("PUT", "/v1/models", {}, 405),
    ("POST", "/v1/messages", {"json": body(model="simulate-529", stream=True)}, 529), ("GET", "/elsewhere", {}, 404),
])
async def test_every_refusal_has_claudes_shape_and_says_which_request_it_was(
        http: ClientSession, method: str, path: str, more: Json, status: int) -> None:
    async with http.request(method, path, **more) as response:
        answer = await response.json()
    assert response.status == status
    assert set(answer) == {"type", "error", "request_id"} and set(answer["error"]) == {"type", "message"}
    assert answer["type"] == "error" and answer["request_id"] == response.headers["request-id"]


async def test_a_header_that_is_no_utf8_is_refused_like_any_other(base: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(base).port)
    writer.write(b"GET /v1/models HTTP/1.0\r\nhost: x\r\nx-api-key: k\r\nanthropic-version: \xff\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.0 400") and b"is not a valid version" in answer


async def test_an_unknown_expectation_still_gets_a_request_id(base: str) -> None:
    async with ClientSession(base) as session, session.get("/", headers={"expect": "wonders"}) as response:
        assert response.status == 417 and response.headers["request-id"].startswith("req_")
