"""The simulator on a real socket, and how test files speak to it.

A test file takes the fixtures by name: `base = pytest.fixture(running)`, `http = pytest.fixture(connected)`.
"""
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from anthropic import AsyncAnthropic
from anthropic.types import Message

from aioapp.simulator.server import create_simulator

Json = dict[str, Any]

HEADERS = {"x-api-key": "anything", "anthropic-version": "2026-10-21"}
OLD = {"anthropic-version": "2023-06-01"}
HELLO = [{"role": "user", "content": "Why do rainbows and glaciers shine?"}]
COUNT = [{"role": "user", "content": "Please count to 20."}]


async def running() -> AsyncIterator[str]:
    """The URL of a simulator at full speed."""
    async with TestServer(create_simulator(pace=0, slow=0.05)) as server:
        yield str(server.make_url("/"))


async def connected(base: str) -> AsyncIterator[ClientSession]:
    """A plain HTTP client of it."""
    async with ClientSession(base, headers=HEADERS) as session:
        yield session


async def asynchronous(base: str) -> AsyncIterator[AsyncAnthropic]:
    """The SDK, pointed at it."""
    async with AsyncAnthropic(base_url=base, api_key="anything", max_retries=0) as client:
        yield client


def body(**more: Any) -> Json:
    fields = {"model": "custom", "max_tokens": 1000, "messages": HELLO, **more}
    return {name: value for name, value in fields.items() if value is not ...}


async def post(http: ClientSession, path: str = "/v1/messages", headers: Json | None = None,
               **more: Any) -> tuple[int, Json]:
    async with http.post(path, json=body(**more), headers=headers) as response:
        return response.status, await response.json()


async def complaint(http: ClientSession, headers: Json | None = None, **more: Any) -> str:
    """The message of the 400 that the body gets."""
    status, answer = await post(http, headers=headers, **more)
    assert (status, answer["type"], answer["error"]["type"]) == (400, "error", "invalid_request_error"), answer
    return str(answer["error"]["message"])


async def stream(http: ClientSession, **more: Any) -> list[Json]:
    async with http.post("/v1/messages", json=body(stream=True, **more)) as response:
        return events_in(await response.read())


def events_in(raw: bytes) -> list[Json]:
    events = []
    for frame in raw.decode().removesuffix("\n\n").split("\n\n"):
        name, data = frame.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == "event: " + events[-1]["type"]
    return events


def text_in(message: Json | Message) -> str:
    content = message["content"] if isinstance(message, dict) else message.to_dict()["content"]
    assert isinstance(content, list)
    return "".join(block.get("text", "") for block in content)
