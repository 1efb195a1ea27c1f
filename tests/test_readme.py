"""The README and the guide keep their word: its commands are taken, its code runs, its tables say what the code has."""
import asyncio
import base64
import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from configparser import RawConfigParser
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, fields
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aioapp import credentials, errors
from aioapp.money import NANO
from aioapp.messages.meter import BYTES_A_TOKEN
from aioapp.messages.billing import Billing, Usage
from aioapp.settings import SettingError, Settings, flag_of, from_command_line, variable_of
from aioapp.simulator.server import create_simulator
from aioapp.simulator.reserved import REFUSED, TROUBLED
from aioapp.usage import DEFAULT_PRICES, parse_prices
from aioapp.webhooks.signature import headers_of
from tests.browser import find_chromium, open_browser
from tests.conftest import Serve, start
from tests.keyed import database, make_key
from tests.test_admin_page import arrive, sign_in
from tests.test_architecture import APART, FLOORS
from tests.test_docs import chromium
from tests.upstreams import BLOCK, END, START, Connection, delta, upstream

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "aioapp" / "pages" / "guide").glob("*.md"))
README = "\n\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *PAGES))
"""The README, and the guide's pages behind it."""
ADDRESS = "127.0.0.1:8000"
SERVE = ("python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt -e . && "
         ".venv/bin/python -m aioapp --simulate")
TEST = ("python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt -e '.[test]' && "
        ".venv/bin/python -m pytest")
PATIENCE = 60.0
"""Seconds until a test gives up on a process: plenty, since the machine may be busy."""


@dataclass(frozen=True)
class Block:
    """A fenced piece of the README: its code, and the prose up to it and after it."""

    language: str
    code: str
    line: int
    before: str
    after: str

    def at(self, url: str) -> str:
        """The code with the address of a server that runs."""
        return self.code.replace(ADDRESS, url.removeprefix("http://"))


def fenced() -> Iterator[Block]:
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        before, after = README[:found.start()], README[found.end():]
        yield Block(found[1], found[2], before.count("\n") + 1, before, after)


def blocks(language: str, *, where: Callable[[Block], bool] = lambda block: True) -> list[Block]:
    found = list({block.code: block for block in reversed(list(fenced()))
                  if block.language == language and where(block)}.values())[::-1]
    assert found, f"The README has no such {language} block"
    return found


def line_of(block: Block) -> str:
    return f"line {block.line}"


def is_client(block: Block) -> bool:
    return "create_app" not in block.code and "run_app" not in block.code


def code_of(file: str) -> str:
    """The code of the block that the README tells to save as `file`."""
    [block] = blocks("python", where=lambda block: re.findall(r"Save as `(\S+)`", block.before[-800:])[-1:] == [file])
    return block.code


def status_of(block: Block) -> int:
    """The status that the README says right after a block."""
    said = re.match(r"\s*\*\*(\d{3})\*\*", block.after)
    assert said, f"No status after the block in line {block.line}"
    return int(said[1])


def curls(block: Block) -> list[list[str]]:
    return [shlex.split("curl " + line)[1:] for line in re.split(r"^curl ", block.code, flags=re.MULTILINE)[1:]]


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is called `heading`, without the backticks."""
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert found, f"No table begins with {heading}"
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()]


def environment(**more: str) -> dict[str, str]:
    """Ours without what would configure a server, this tree first, warnings being errors."""
    ours = {name: value for name, value in os.environ.items()
            if not name.startswith(("API_", "ANTHROPIC_", "CLAUDE_", "GUNICORN_", "PYTHON"))}
    return {**ours, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


async def output_of(*command: str | Path, keep: Sequence[int] = (), **more: str) -> str:
    """What a command prints, which ends well; it inherits the files `keep`."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=STDOUT, pass_fds=keep, env=environment(**more))
    try:
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert process.returncode == 0, said.decode()
    return said.decode()


@asynccontextmanager
async def running(*command: str | Path, **more: str) -> AsyncIterator[str]:
    """A server as a process of its own, as the URL that it prints; SIGTERM ends it in order."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, env=environment(**more))
    try:
        yield await announced(process)
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def announced(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(PATIENCE):
        async for line in process.stdout:
            said += line.decode()
            if found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", line.decode()):
                return found[0]
    raise AssertionError(f"The server ended before it served:\n{said}")


def own(file: Path, **more: str) -> Any:
    """The README's `file`, written and served by the command that the README gives, with the simulator."""
    file.write_text(code_of(file.name))
    return running(sys.executable, "-W", "error", file, API_SIMULATE="1", API_SIMULATE_PACE="0", API_PORT="0", **more)


def needed(program: str | None, name: str) -> str:
    """The path of a program that a test needs: CI must have it, elsewhere the test is skipped."""
    if program is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


# The first screen, and what is said throughout.

@pytest.mark.parametrize("command", [SERVE, TEST], ids=["serve", "test"])
def test_each_of_the_two_commands_stands_once_and_on_the_first_screen(command: str) -> None:
    assert README.splitlines().count(command) == 1
    assert command in README.splitlines()[:25]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    taken_from_here = re.search(r"grep -m1 -E '([^']+)' README\.md", run)
    found = re.findall(taken_from_here[1], README, re.MULTILINE) if taken_from_here else [TEST] * run.count(TEST)
    assert found == [TEST]


def test_nothing_is_claimed_of_the_real_claude_and_no_machine_of_ours_is_named() -> None:
    assert "was not tried against the real Claude" in README
    assert str(ROOT.parent) not in README
    assert not re.search(r"pypi|npmjs|docker\.io|quay\.io", README, re.IGNORECASE)


def anchors(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.name))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_floors_are_those_that_the_architecture_is_held_to() -> None:
    told = [{re.sub(r"/$|\.py$", "", name) for name in rooms.split(", ")} for _, rooms, _ in table("floor")]
    assert told == [*FLOORS, APART]


def test_every_extra_that_the_readme_names_can_be_installed() -> None:
    setup = RawConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(re.findall(r"'\.\[(\w+)\]'", README)) <= set(setup["options.extras_require"])


# Keys.

async def test_five_commands_lead_from_nothing_to_a_limited_key(tmp_path: Path) -> None:
    """The first of them is the one that makes the virtual environment which this runs in."""
    [block] = blocks("sh", where=lambda block: "keys create you" in block.code)
    install, admin, web, serving, call = block.code.strip().splitlines()
    assert "pip install" in install and serving.startswith("ANTHROPIC_API_KEY=… .venv/bin/aioapp ")
    keys = [await aioapp(line) for line in (admin, web)]
    assert all(re.fullmatch(r"aio_[0-9a-f]{16}_[\w-]{43}", key) for key in keys)
    flags = shlex.split(serving.partition(" .venv/bin/aioapp ")[2])
    async with running(sys.executable, "-m", "aioapp", *flags, "--port", "0", "--simulate") as url:
        arguments = shlex.split(call.replace(ADDRESS, url.removeprefix("http://")).replace("aio_…", keys[1]))[1:]
        head = tmp_path / "head"
        assert await curl([*arguments, "-D", str(head)], tmp_path / "body") == 200
        assert '"requests";q=60;w=60, "tokens";q=100000;w=60' in head.read_text()
        assert await curl([url + "/admin", "-H", f"X-API-Key: {keys[0]}"], tmp_path / "page") == 200
        assert await curl([url + "/auth-status"], tmp_path / "body") == 401


async def test_every_other_line_about_keys_does_what_it_says() -> None:
    [block] = blocks("sh", where=lambda block: "keys rotate" in block.code)
    create, listing, show, update, rotate, revoke, forget, log = block.code.strip().splitlines()
    first = await aioapp(create)
    assert "ci" in await aioapp(listing) and "claude-haiku-*" in await aioapp(show)
    assert "$20 a month, strict" in await aioapp(show)
    assert "$30 a month, no end" in await aioapp(update) and "ada@example.com" in await aioapp(show)
    assert (await aioapp(rotate)).startswith("aio_") and first.startswith("aio_")
    await aioapp(revoke)
    assert "revoked" in await aioapp(listing)
    await aioapp(".venv/bin/aioapp keys create other")
    assert "ci is forgotten" in await aioapp(forget) and "ci" not in (await aioapp(listing)).split()
    assert [line.split()[5] for line in (await aioapp(log)).splitlines()[1:]] == [
        "forgotten", "revoked", "rotated", "changed", "created"]


async def test_every_line_that_measures_does_so(http: aiohttp.ClientSession) -> None:
    [block] = blocks("sh", where=lambda block: "aioapp bench" in block.code)
    started, fixed, elsewhere = block.code.strip().splitlines()
    quick = " --seconds 0.1 --rounds 1"
    flags = ("--simulate", "--simulate-pace", "0", "--port", "0", "--no-access-log")
    async with running(sys.executable, "-m", "aioapp", *flags) as url:
        of_all, of_one, of_another = await asyncio.gather(  # mostly they wait, for starts and for streams that are held
            aioapp(started + quick), aioapp(fixed + quick),
            aioapp(elsewhere.replace("http://" + ADDRESS, url) + quick))
    assert "websocket" in of_all and "tokens a second" in of_another
    assert set(json.loads(of_one)["transports"]) == {"websocket"}


async def aioapp(line: str) -> str:
    """What a line of the README prints on standard output."""
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/aioapp"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioapp", *arguments, stdout=PIPE, stderr=PIPE, env=environment())
    async with asyncio.timeout(PATIENCE):
        said, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return said.decode().strip()


def test_the_prices_are_such_as_the_server_takes() -> None:
    [block] = blocks("json", where=lambda block: "cache_write" in block.code)
    prices = parse_prices(block.code)
    assert prices.cost("claude-sonnet-5-5", Usage(input_tokens=1)) == 2000
    assert prices.cost("my-gateway-7", Usage(output_tokens=1, billing=Billing(searches=1))) == 0
    for model in ("claude-sonnet-5-5", "claude-opus-5-5"):  # what is shown is what holds without it
        for billing in (Billing(hour=5), Billing(searches=1, us=True, fast=True)):
            usage = Usage(7, 7, 7, 7, billing=billing)
            assert prices.cost(model, usage) == DEFAULT_PRICES.cost(model, usage)


def test_prices_and_bounds_that_are_told_are_those_of_the_code() -> None:
    assert "charged 15 / 75" in README
    assert DEFAULT_PRICES.cost("nonesuch", Usage(output_tokens=1_000_000)) == 75 * NANO
    most, hour = 100_000, Billing(hour=100_000)
    for model, *amounts, times, more in table("priced model"):
        kinds = (Usage(most), Usage(0, most), Usage(0, 0, 0, most), Usage(0, 0, most), Usage(0, 0, most, billing=hour))
        costs = [DEFAULT_PRICES.cost(model, usage) for usage in kinds]
        assert costs == [Decimal(amount) * NANO / 10 for amount in amounts]
        fast = Usage(most, billing=Billing(fast=True))
        assert DEFAULT_PRICES.cost(model, fast) == costs[0] * int(times.strip("× |"))
        assert DEFAULT_PRICES.cost(model, Usage(2 * most)) == 2 * costs[0] * int(more.strip("× |"))
        assert DEFAULT_PRICES.name(model) == f"{model}*"
    assert f"{BYTES_A_TOKEN} bytes a token" in README


# Settings.

def shown(default: object) -> str:
    match default:
        case bool():
            return "on" if default else "off"
        case None:
            return "none"
        case tuple():
            return ",".join(default) or "none"
        case float():
            return f"{default:g}"
    return str(default)


def flags(row: Any) -> str:
    flag = flag_of(row)
    if not row.metadata["flag"]:
        return "none"
    return f"{flag}, --no-{flag.removeprefix('--')}" if isinstance(row.default, bool) else flag


def test_the_table_of_settings_is_that_of_the_code() -> None:
    assert [row[:3] for row in table("flag")] == [
        [flags(row), variable_of(row), shown(row.default)] for row in fields(Settings)]
    assert all(meaning for *_, meaning in table("flag"))


def command_lines() -> Iterator[list[str]]:
    """The arguments of every `python -m aioapp` in the README, in a shell's words or a container file's."""
    for line in re.findall(r"python -m aioapp( [^`\n]*)?$", README, re.MULTILINE):
        yield shlex.split(line.partition(" 2>&1")[0])
    for words in re.findall(r'^CMD (\[.*\])$', README, re.MULTILINE):
        yield json.loads(words)[3:]


def test_every_command_line_is_one_that_aioapp_takes() -> None:
    lines = list(command_lines())
    assert ["--simulate"] in lines and ["--host", "0.0.0.0"] in lines and len(lines) >= 5
    for line in lines:
        assert isinstance(from_command_line(line, {}), Settings)


def test_a_bad_value_is_refused_as_the_readme_says() -> None:
    with pytest.raises(SettingError):
        from_command_line(["--cors-credentials", "--cors-origin", "*"], {})


async def test_a_port_in_use_is_told_in_the_words_of_the_readme() -> None:
    said = re.search(r"`(cannot listen on 127\.0\.0\.1 port )8000(: Address already in use)`", README)
    assert said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "aioapp", "--port", port, stderr=PIPE, env=environment())
        _, complaint = await process.communicate()
    assert process.returncode == 2
    assert complaint.decode().startswith(f"aioapp: {said[1]}{port}{said[2]}")
    assert complaint.count(b"\n") == 1


def test_credentials_are_named_in_the_order_in_which_they_are_looked_for() -> None:
    rows = re.findall(r"^\d\. (.+)$", README, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)]
    looked_for = re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", credentials.__doc__ or "")
    assert named == looked_for


async def test_a_server_without_credentials_starts_and_says_what_the_readme_says(http: aiohttp.ClientSession) -> None:
    async with running(sys.executable, "-m", "aioapp", "--port", "0", "--no-access-log") as url:
        async with http.get(f"{url}/health") as response:
            assert (response.status, (await response.json())["claude_client"]) == (503, "not initialized")
        async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}) as response:
            assert response.status == 503
            assert f"answers 503 `{(await response.json())['error']}`" in README.replace("\n", " ")


# Endpoints, errors, reserved models.

async def curl(arguments: Sequence[str], into: Path) -> int:
    """The status of what curl gets; the body goes into a file."""
    program = needed(shutil.which("curl"), "curl")
    return int(await output_of(program, "-sS", "-o", into, "-w", "%{http_code}", *arguments))


@pytest.mark.parametrize("block", blocks("bash"), ids=line_of)
async def test_every_curl_line_gets_the_status_and_the_fields_that_the_readme_says(
        serve: Serve, block: Block, tmp_path: Path) -> None:
    url = await serve()
    for arguments in curls(Block("bash", block.at(url), 0, "", "")):
        assert await curl(arguments, tmp_path / "body") == status_of(block), arguments
    for shown in answer_shown(block):
        assert shape(json.loads((tmp_path / "body").read_text())) == shape(json.loads(shown))


def answer_shown(block: Block) -> Iterator[str]:
    """The JSON that the README shows for a block: the next one, if it comes before any heading."""
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
                      "/admin/usage?by=day", "/admin/usage?by=owner,day&format=csv",
                      "/admin/requests?outcome=refused",
                      "/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/v1/models/claude-sonnet-5-5"}


async def test_a_stream_of_text_is_what_the_readme_shows(serve: Serve, tmp_path: Path) -> None:
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


async def test_reserved_models_cause_the_trouble_that_the_readme_says(
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


# Run it for others.

@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    openssl = needed(shutil.which("openssl"), "openssl")
    signed, key = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", signed],
        check=True, capture_output=True)
    return signed, key


def nginx_conf(folder: Path, url: str, port: int, certificate: tuple[Path, Path]) -> Path:
    """The README's file in the rest of a configuration, all of it in `folder`."""
    [block] = blocks("nginx")
    signed, key = map(str, certificate)
    site = block.at(url)
    for said, ours in (("/etc/nginx/tls/fullchain.pem", signed), ("/etc/nginx/tls/privkey.pem", key),
                       ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")):
        assert said in site
        site = site.replace(said, ours)
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/errors;\n"
                    f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n")
    return conf


@asynccontextmanager
async def behind_nginx(folder: Path, url: str, certificate: tuple[Path, Path]) -> AsyncIterator[str]:
    """nginx in front of the server, on a socket that is ours, so that callers wait in its queue until it is there."""
    nginx = needed(shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"), "nginx")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        conf = nginx_conf(folder, url, port, certificate)
        inherited, keep = f"{listening.fileno()};", (listening.fileno(),)
        said = await output_of(nginx, "-t", "-q", "-e", folder / "errors", "-c", conf, keep=keep, NGINX=inherited)
        assert said in ("", f"nginx: using inherited sockets from \"{inherited}\"\n")
        process = await asyncio.create_subprocess_exec(
            nginx, "-e", folder / "errors", "-c", conf, pass_fds=keep, env=environment(NGINX=inherited))
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def test_nginx_passes_on_streams_as_they_come_sockets_and_where_the_caller_is(
        serve: Serve, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    seen = asyncio.Event()

    async def waits(connection: Connection) -> None:
        """Send the rest only once the caller has seen the first piece."""
        await connection.begin()
        await connection.chunk(START + BLOCK + delta("first"))
        await seen.wait()
        await connection.chunk(delta("last") + END)
        await connection.finish()

    async with AsyncExitStack() as stack:
        claude = await stack.enter_async_context(upstream(waits))
        key = make_key()
        url = await stack.enter_async_context(behind_nginx(tmp_path, await serve(claude.url), certificate))
        http = await stack.enter_async_context(aiohttp.ClientSession(
            headers={"X-API-Key": key},
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=certificate[0])),
            timeout=aiohttp.ClientTimeout(total=PATIENCE)))
        async with http.post(f"{url}/api/stream", json={"prompt": "Hi"}) as response:
            assert await response.content.readuntil(b"\n\n") == b"data: first\n\n"
            seen.set()
            assert await response.read() == b"data: last\n\ndata: [DONE]\n\n"
        async with http.ws_connect(f"{url}/ws/generate") as talk:
            await talk.send_json({"prompt": "Hi", "stream": True})
            assert [(await talk.receive_json())["type"] for _ in range(4)] == ["start", "delta", "delta", "done"]
        async with http.get(url) as response:
            places = (await response.json())["endpoints"]
        async with http.post(f"{url}/api/generate", data=BytesIO(b" " * 1_200_000),
                             headers={"Content-Type": "application/json"}) as response:
            assert (response.status, (await response.json())["success"]) == (413, False)
        async with http.get(f"{url}/metrics") as response:
            assert response.status == 403  # nginx is on this machine, its callers are not
    assert places["generate"] == f"{url}/api/generate"
    assert places["websocket"] == f"{url}/ws/generate".replace("https", "wss")


async def test_an_administrator_signs_in_and_out_in_a_browser_behind_nginx(
        serve: Serve, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    boss, plain = make_key("boss", admin=True), await serve()
    async with (behind_nginx(tmp_path, plain, certificate) as url,
                open_browser(chromium(find_chromium(), os.environ), tmp_path / "profile") as browser):
        page = await browser.open_page(f"{plain}/health/live")
        await page.call("Security.setIgnoreCertificateErrors", ignore=True)
        await page.visit(f"{url}/admin")
        await sign_in(page, boss)
        await page.wait_for("document.querySelector('#keys tr[data-key=boss]')")
        [cookie] = (await page.call("Network.getCookies"))["cookies"]
        assert [cookie[name] for name in ("name", "path", "httpOnly", "secure", "sameSite")] == [
            "aioapp_admin", "/admin", True, True, "Strict"]
        await page.click("#new-key")
        await page.type("[name=name]", "web")
        await page.click("#create-yes")
        await page.wait_for("document.querySelector('#secret').textContent")
        await page.click("#secret-close")
        await page.click("#sign-out")
        await arrive(page, "document.querySelector('#key') !== null")
        assert (await page.call("Network.getCookies"))["cookies"] == []
    with closing(sqlite3.connect(database())) as connection:
        assert connection.execute("SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM sessions)").fetchall() == [
            (2, 0)]


async def test_the_gunicorn_line_serves(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    [line] = re.findall(r"^\.venv/bin/gunicorn (.*)$", README, re.MULTILINE)
    arguments = shlex.split(line.replace(ADDRESS, "127.0.0.1:0"))
    async with running(sys.executable, "-m", "gunicorn", *arguments, "--no-control-socket",
                       API_SIMULATE="1", API_SIMULATE_PACE="0") as url:
        async with http.post(f"{url}/api/generate", json={"prompt": "Count to 3"}) as response:
            assert (response.status, (await response.json())["response"]) == (200, "1, 2, 3")


async def test_the_unit_starts_what_exists_and_lets_the_server_stop_its_own_workers() -> None:
    [block] = blocks("ini", where=lambda block: "[Unit]" in block.code)
    unit = RawConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # it is meant to be replaced; systemd tells case
    unit.read_string(block.code)
    service = unit["Service"]
    settings = from_command_line(shlex.split(service["ExecStart"])[3:], {})
    assert settings.workers > 1 and service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > settings.shutdown_timeout + 10


def test_the_file_of_settings_is_one_that_the_server_takes(tmp_path: Path) -> None:
    [block] = blocks("ini", where=lambda block: "[aioapp]" in block.code)
    (tmp_path / "settings.ini").write_text(block.code)
    settings = from_command_line(["--config", str(tmp_path / "settings.ini")], {})
    assert (settings.workers, len(settings.cors_origins), len(settings.trusted_proxies)) == (4, 2, 2)


async def test_the_receiver_of_alerts_takes_what_is_signed_and_nothing_else(
        stack: AsyncExitStack, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = blocks("python", where=lambda block: "webhook-signature" in block.code)
    secret = bytes(range(32))
    monkeypatch.setenv("API_ALERT_WEBHOOK_SECRET", "whsec_" + base64.b64encode(secret).decode())
    program: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(block.code, "receiver.py", "exec"), program)
    app = web.Application()
    app.router.add_post("/", program["alert"])
    url = await start(app, stack)
    for tampered, expected in ((b"", 204), (b" ", 401)):
        body = b'{"type":"database.found"}'
        headers = headers_of(body, id="msg_1", at=time.time(), secret=secret)
        async with http.post(url, data=body + tampered, headers=headers) as response:
            assert response.status == expected


async def test_the_health_check_of_the_container_file_passes(serve: Serve) -> None:
    [block] = blocks("dockerfile")
    [words] = re.findall(r"^HEALTHCHECK CMD (\[.*\])$", block.at(await serve()), re.MULTILINE)
    program, *arguments = json.loads(words)
    assert program == "python"
    await output_of(sys.executable, *arguments)


async def test_the_simulator_runs_alone_and_the_server_runs_on_it(http: aiohttp.ClientSession) -> None:
    [port] = re.findall(r"-m aioapp\.simulator --port (\d+)$", README, re.MULTILINE)
    [variables] = re.findall(rf"^(ANTHROPIC_BASE_URL=http://127\.0\.0\.1:{port} .*) \.venv/", README, re.MULTILINE)
    async with running(sys.executable, "-m", "aioapp.simulator", "--port", "0", "--pace", "0") as claude:
        given = dict(word.split("=", 1) for word in variables.replace(f"http://127.0.0.1:{port}", claude).split())
        async with running(sys.executable, "-m", "aioapp", "--port", "0", "--no-access-log", **given) as url:
            async with http.post(f"{url}/api/generate", json={"prompt": "Count to 3"}) as response:
                assert (await response.json())["response"] == "1, 2, 3"
