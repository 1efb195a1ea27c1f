"""Whatever a caller sends, nobody else waits for all of it to be understood."""
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from aioapp.app import create_app
from aioapp.endpoints import OPERATIONS
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.settings import Settings
from aioapp.web.fields import text
from aioapp.web.operations.operation import Operation, prompt_of
from aioapp.web.schemas import Options
from aioapp.web.validation import LARGE
from tests.conftest import Serve, start

Ask = Callable[[aiohttp.ClientSession, str, bytes], Awaitable[None]]
ODDITIES = 300


class Turns:
    """Counts the turns of the loop, and notes how many there had been when something was done."""

    def __init__(self) -> None:
        self.count = 0
        self.noted: list[int] = []

    def note(self) -> None:
        self.noted.append(self.count)

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        async def count() -> None:
            while True:
                self.count += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        try:
            yield
        finally:
            counting.cancel()


def noting(turns: Turns) -> Operation:
    """An operation that notes when a body is held against its schema, and when it is made a prompt."""
    class NotingBody(Options):
        prompt = text(required=True)

        def load(self, data: Any, **more: Any) -> Any:
            turns.note()
            return super().load(data, **more)

    def prompt(body: Mapping[str, Any]) -> TextPrompt:
        turns.note()
        return prompt_of(body, Turn("user", "Hi"), max_tokens=5)

    return Operation(name="noting", path="/noting", stream_path="/noting/stream", summary="Note", body=NotingBody,
                     prompt=prompt, example={"prompt": "Hi"})


async def by_rest(http: aiohttp.ClientSession, url: str, body: bytes) -> None:
    async with http.post(f"{url}/noting", data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 200


async def by_sse(http: aiohttp.ClientSession, url: str, body: bytes) -> None:
    async with http.post(f"{url}/noting/stream", data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 200


async def by_frame(http: aiohttp.ClientSession, url: str, body: bytes) -> None:
    async with http.ws_connect(f"{url}/ws/generate") as socket:
        await socket.send_str(body.decode().replace("{", '{"type":"noting",', 1))
        assert (await socket.receive_json())["success"] is True


@pytest.mark.parametrize("ask", [by_rest, by_sse, by_frame])
@pytest.mark.parametrize(("size", "given"), [(LARGE + 1, True), (100, False)])
async def test_a_large_body_gives_others_their_turn_before_it_is_made_a_prompt(
        http: aiohttp.ClientSession, stack: AsyncExitStack, ask: Ask, size: int, given: bool) -> None:
    turns = Turns()
    app = create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2),
                     operations=(*OPERATIONS, noting(turns)))
    url = await start(app, stack)
    turns.noted.clear()  # the example's, which is tried at the start
    async with turns.counted():
        await ask(http, url, json.dumps({"prompt": "x" * size}).encode())
    held, made = turns.noted
    assert (made > held) is (given or ask is by_frame)  # a frame's prompt is made in the frame's own task


async def test_frames_that_are_there_already_give_others_a_turn_between_each_and_the_next(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    turns = Turns()
    async with http.ws_connect(f"{await serve()}/ws/generate") as socket:
        for _ in range(ODDITIES):
            await socket.send_str("?")
        async with turns.counted():
            for _ in range(ODDITIES):
                assert (await socket.receive_json())["success"] is False
    assert turns.count > ODDITIES
