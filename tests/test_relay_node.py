"""Two SDKs for Node, Anthropic's and Vercel's, with this server as their base URL and one of our keys.

Which versions is in `tests/node/package-lock.json`. npm installs them once, into the build folder.
"""
import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.keyed import make_key
from tests.documents import Block, blocks, line_of, output_of

COUNTED = "1, 2, 3, 4, 5"
FORBIDDEN = "Your key may not use the model claude-haiku-5-5. It may use: claude-sonnet-*, simulate-*."
UNKNOWN = "This key is not known."


async def told(folder: Path, script: str, step: str, serve: Serve) -> Any:
    """What the script says of a step, with a key that may use some models."""
    key = make_key("node", models=("claude-sonnet-*", "simulate-*"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "NODE_"))}
    process = await asyncio.create_subprocess_exec(
        "node", folder / f"{script}.mjs", await serve(), key, step, env=environment, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


async def test_anthropics_sdk_gets_the_same_text_in_a_stream_and_in_one_piece(installed: Path, serve: Serve) -> None:
    said = await told(installed, "anthropic", "texts", serve)
    assert (said["whole"], said["streamed"], said["last"]) == (COUNTED, COUNTED, COUNTED)
    assert said["id"].startswith("req_") and len(set(said["tokens"])) == 1


async def test_anthropics_sdk_runs_a_tool_and_gets_the_answer_to_what_it_gave(installed: Path, serve: Serve) -> None:
    said = await told(installed, "anthropic", "tool", serve)
    assert said["cities"] == ["Köln"] and "sun" in said["said"]


async def test_anthropics_sdk_pages_through_the_models_that_its_key_may_use(installed: Path, serve: Serve) -> None:
    said = await told(installed, "anthropic", "models", serve)
    assert len(said["ids"]) > 3 and all(name.startswith("claude-sonnet-") for name in said["ids"])
    assert said["first"] == said["ids"][0]


async def test_anthropics_sdk_throws_what_is_refused_under_its_own_names(installed: Path, serve: Serve) -> None:
    said = await told(installed, "anthropic", "failures", serve)
    assert said["batches"].pop("message").startswith("Batches and files are not served")
    assert said == {
        "wrong": {"name": "AuthenticationError", "status": 401, "type": "authentication_error", "message": UNKNOWN},
        "forbidden": {
            "name": "PermissionDeniedError", "status": 403, "type": "permission_error", "message": FORBIDDEN},
        "batches": {"name": "NotFoundError", "status": 404, "type": "not_found_error"},
        "overloaded": {"name": "OverloadedError", "status": 529, "type": "overloaded_error", "message": "Overloaded"},
        "broken": {"name": "APIError", "type": "overloaded_error", "message": "Overloaded"},
    }


async def test_vercels_sdk_gets_the_same_text_in_a_stream_and_in_one_piece(installed: Path, serve: Serve) -> None:
    said = await told(installed, "vercel", "texts", serve)
    assert (said["whole"], said["streamed"]) == (COUNTED, COUNTED) and said["tokens"] > 0


async def test_vercels_sdk_runs_a_tool_in_a_stream_and_without(installed: Path, serve: Serve) -> None:
    said = await told(installed, "vercel", "tool", serve)
    assert said["cities"] == ["Köln", "Köln"] and all("sun" in text for text in said["said"])


async def test_vercels_sdk_throws_our_words_and_knows_what_to_try_again(installed: Path, serve: Serve) -> None:
    assert await told(installed, "vercel", "failures", serve) == {
        "wrong": {"status": 401, "message": UNKNOWN, "again": False},
        "forbidden": {"status": 403, "message": FORBIDDEN, "again": False},
        "overloaded": {"status": 529, "message": "Overloaded", "again": True},
        "broken": ["Overloaded"],
    }


@pytest.mark.parametrize("block", blocks("ts"), ids=line_of)
async def test_every_snippet_in_typescript_of_the_readme_prints_the_answer(
        serve: Serve, installed: Path, block: Block) -> None:
    """They are written without types, so Node takes them as they are."""
    script = installed / f"snippet{block.line}.mjs"
    script.write_text(block.at(await serve()), encoding="utf-8")
    assert "this is the simulator's answer" in await output_of("node", script)
