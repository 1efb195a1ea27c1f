"""Every program in the README and the guide runs: clients, and what makes the server one's own."""
import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from aioapp.simulator.server import create_simulator
from tests.browser import find_chromium, open_browser
from tests.conftest import Serve, start
from tests.documents import Block, blocks, code_of, environment, is_client, line_of, needed, output_of, own, running
from tests.keyed import make_key


# Clients.

@pytest.mark.parametrize("block", blocks("python", where=is_client), ids=line_of)
async def test_every_python_client_prints_the_answer(serve: Serve, block: Block, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(block.at(await serve()))
    said = await output_of(sys.executable, "-W", "error", tmp_path / "client.py")
    assert "this is the simulator's answer" in said
    assert "Ask me to count to a number" in said, "the answer is not whole"


async def test_the_python_client_of_the_socket_cancels_what_still_runs(
        serve: Serve, stack: AsyncExitStack, tmp_path: Path) -> None:
    [block] = blocks("python", where=lambda block: '"type": "cancel"' in block.code)
    url = await serve(await start(create_simulator(pace=0.2), stack))
    (tmp_path / "client.py").write_text(block.at(url))
    said = await output_of(sys.executable, tmp_path / "client.py")
    assert "b ended: Generation cancelled" in said
    assert "a ended: You wrote about" in said


async def test_every_client_in_python_fails_when_the_server_does(serve: Serve, tmp_path: Path) -> None:
    url = await serve("http://127.0.0.1:9")

    async def status(number: int, block: Block) -> int:
        file = tmp_path / f"client{number}.py"
        file.write_text(block.at(url))
        process = await asyncio.create_subprocess_exec(
            sys.executable, file, stdout=PIPE, stderr=PIPE, env=environment())
        await process.communicate()
        assert process.returncode is not None
        return process.returncode

    clients = blocks("python", where=lambda block: is_client(block) and "ws_connect" not in block.code)
    assert await asyncio.gather(*(status(*one) for one in enumerate(clients))) == [1] * len(clients)


async def test_every_snippet_for_browsers_logs_the_answer_on_a_page_of_another_origin(
        serve: Serve, stack: AsyncExitStack, tmp_path: Path) -> None:
    chromium = needed(find_chromium(), "Chromium")
    elsewhere = web.Application()
    elsewhere.router.add_get("/", blank)
    page_url, url = await start(elsewhere, stack), await serve()
    async with open_browser(chromium, tmp_path / "profile") as browser:
        for block in blocks("js"):
            page = await browser.open_page(page_url)
            said = await page.evaluate(
                "(async () => {const said = []; console.log = text => said.push(text);\n"
                f"{block.at(url)}\nreturn said.at(-1)}})()")
            assert "this is the simulator's answer" in said and "Ask me to count" in said
            assert not page.console and not page.blocked


async def blank(request: web.Request) -> web.Response:
    html = "<!doctype html><title>Elsewhere</title><link rel=icon href=data:,>"
    return web.Response(text=html, content_type="text/html")


# Make it yours.

async def test_the_added_endpoint_answers_over_rest_sse_and_the_socket_and_is_documented(
        http: aiohttp.ClientSession, tmp_path: Path) -> None:
    body = {"text": "The train was late again.", "focus": "sentiment"}
    async with own(tmp_path / "analyze.py") as url:
        async with http.post(f"{url}/custom/analyze", json=body) as response:
            rest = await response.json()
        async with http.post(f"{url}/custom/analyze/stream", json=body | {"format": "events"}) as response:
            sse = [json.loads(line[6:]) for line in (await response.text()).split("\n") if line.startswith("data: ")]
        async with http.ws_connect(f"{url}/ws/generate") as talk:
            await talk.send_json(body | {"type": "analyze"})
            frame = await talk.receive_json()
        async with http.post(f"{url}/custom/analyze", json={"text": " "}) as response:
            refused = response.status
        async with http.get(f"{url}/openapi.json") as response:
            documented = (await response.json())["paths"]
    assert rest["success"] and rest["prompt"].endswith(body["text"])
    assert rest["response"] == sse[-1]["response"] == frame["response"]
    assert refused == 422
    assert {"/custom/analyze", "/custom/analyze/stream", "/api/generate"} <= set(documented)


async def test_a_program_of_ones_own_has_workers_too(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    file = tmp_path / "analyze.py"
    file.write_text(code_of(file.name))
    flags = ["--simulate", "--simulate-pace", "0", "--port", "0", "--workers", "2"]
    async with running(sys.executable, "-W", "error", file, *flags) as url:
        async with http.post(f"{url}/custom/analyze", json={"text": "Late again."}) as response:
            assert response.status == 200


async def test_the_added_middleware_tells_the_time_on_answers_streams_sockets_and_errors(
        http: aiohttp.ClientSession, tmp_path: Path) -> None:
    async with own(tmp_path / "timing.py") as url:
        async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}) as answer, http.post(
                f"{url}/api/stream", json={"prompt": "Hi"}) as streamed, http.get(f"{url}/nowhere") as missing:
            seen: list[Mapping[str, str]] = [answer.headers, streamed.headers, missing.headers]
        async with http.ws_connect(f"{url}/ws/generate") as talk:
            seen.append(talk._response.headers)
    assert all(re.fullmatch(r"app;dur=\d+\.\d{3}", headers["Server-Timing"]) for headers in seen)


async def test_the_added_middleware_leaves_refusals_alone(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    make_key()
    async with own(tmp_path / "timing.py") as url, http.get(f"{url}/auth-status") as response:
        assert response.status == 401


async def test_an_added_route_needs_a_key_but_for_one_that_is_opened_by_name(
        http: aiohttp.ClientSession, tmp_path: Path) -> None:
    key = make_key("web")
    async with own(tmp_path / "routes.py") as url:
        async with http.get(f"{url}/whoami") as nobody, http.get(f"{url}/ping") as open_one:
            assert (nobody.status, open_one.status) == (401, 200)
        async with http.get(f"{url}/whoami", headers={"X-API-Key": key}) as response:
            assert await response.json() == {"you": "web"}
