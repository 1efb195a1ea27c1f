"""What the documents say of endpoints, errors and the simulator is true: curl lines are run, tables compared."""
import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from aioapp import errors
from aioapp.simulator.server import create_simulator
from aioapp.simulator.reserved import REFUSED, TROUBLED
from tests.conftest import Serve, start
from tests.documents import ADDRESS, Block, blocks, curl, curls, fenced, line_of, status_of, table


@pytest.mark.parametrize("block", [block for block in fenced() if block.language == "bash"], ids=line_of)
async def test_every_curl_line_gets_the_status_and_the_fields_that_the_documents_say(
        serve: Serve, block: Block, tmp_path: Path) -> None:
    url = await serve()
    for arguments in curls(replace(block, code=block.at(url))):
        assert await curl(arguments, tmp_path / "body") == status_of(block), arguments
    for shown in answer_shown(block):
        assert shape(json.loads((tmp_path / "body").read_text())) == shape(json.loads(shown))


def answer_shown(block: Block) -> Iterator[str]:
    """The JSON that a document shows for a block: the next one, if it comes before any heading."""
    prose, fence, rest = block.after.partition("\n```")
    if rest.startswith("json\n") and "\n#" not in prose:
        yield rest.removeprefix("json\n").partition("\n```")[0]


def test_the_answers_of_most_endpoints_are_shown() -> None:
    assert sum(len(list(answer_shown(block))) for block in blocks("bash")) >= 7


def shape(value: object) -> object:
    """A JSON value with its texts and numbers left out."""
    match value:
        case dict():
            return {name: shape(inner) for name, inner in value.items()}
        case list():
            return [shape(inner) for inner in value]
        case None:
            return None
    return type(value).__name__


def test_every_endpoint_is_called_by_a_curl_line() -> None:
    called = {re.sub(r"^http://[^/]+", "", word) for block in blocks("bash") for line in curls(block) for word in line
              if word.startswith("http://")}
    assert called == {"/", "/health", "/health/ready", "/health/live", "/auth-status", "/api/generate", "/api/chat",
                      "/api/stream", "/api/chat/stream", "/ws/generate", "/docs", "/redoc", "/openapi.json",
                      "/api/usage", "/metrics", "/admin/keys", "/admin/keys/ci", "/admin/audit",
                      "/admin/usage?by=day", "/admin/requests",
                      "/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/v1/models/claude-sonnet-5-5"}


async def test_a_stream_of_text_is_what_the_documents_show(serve: Serve, tmp_path: Path) -> None:
    [block] = blocks("text", where=lambda block: "[DONE]" in block.code)
    [arguments] = curls(blocks("bash", where=lambda asked: asked.after.find(block.code) >= 0)[-1])
    url = await serve()
    await curl([word.replace(f"http://{ADDRESS}", url) for word in arguments], tmp_path / "body")
    assert (tmp_path / "body").read_text() == block.code


async def test_the_table_of_frames_says_what_the_socket_answers(serve: Serve, http: aiohttp.ClientSession) -> None:
    sent = [json.loads(row[0]) for row in table("you send") if row[0].startswith("{")]
    async with http.ws_connect(f"{await serve()}/ws/generate") as talk:
        for frame in sent:
            await talk.send_json(frame)
            answer = await talk.receive_json()
            if frame.get("stream"):
                assert answer["type"] == "start"
                assert (await talk.receive_json())["text"] == "1"
                while answer["type"] != "done":
                    answer = await talk.receive_json()
            assert answer["success"] is (frame.get("type") != "cancel"), frame
        await talk.send_str("anything else")
        assert (await talk.receive_json())["success"] is False


def known(error: type[errors.AppError]) -> Iterator[int]:
    yield error.status
    for narrower in error.__subclasses__():
        yield from known(narrower)


def test_the_table_of_statuses_is_that_of_the_errors() -> None:
    assert [int(status) for status, _ in table("status")] == sorted({*known(errors.AppError), 404, 405})


def test_the_table_of_reserved_models_is_that_of_the_simulator() -> None:
    assert {row[0] for row in table("model")} == {*REFUSED, *TROUBLED}


async def test_reserved_models_cause_the_trouble_that_the_documents_say(
        serve: Serve, stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    url = await serve(await start(create_simulator(pace=0.05, slow=0.1), stack))

    async def asked(path: str, model: str, expected: str) -> tuple[str, str, str]:
        async with http.post(url + path, json={"prompt": "Hello", "model": model}) as response:
            text = await response.text()
            failed = "event: error" in text
            assert response.status != 200 or path == "/api/generate" or failed is not text.endswith("[DONE]\n\n")
            return path, model, f"{response.status}, then error" if failed else str(response.status)

    wanted = [(path, model, expected) for model, whole, streamed, _ in table("model")
              for path, expected in (("/api/generate", whole), ("/api/stream", streamed))]
    assert await asyncio.gather(*(asked(*one) for one in wanted)) == wanted
