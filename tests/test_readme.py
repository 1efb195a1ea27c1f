"""The README and the guide keep their word: commands are taken, code runs, tables say what the code has."""
import asyncio
import json
import re
import shlex
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import AsyncExitStack
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioapp import credentials, errors
from aioapp.money import NANO
from aioapp.messages.meter import BYTES_A_TOKEN
from aioapp.messages.billing import Billing, Usage
from aioapp.settings import SettingError, Settings, flag_of, from_command_line, variable_of
from aioapp.simulator.server import create_simulator
from aioapp.simulator.reserved import REFUSED, TROUBLED
from aioapp.usage import DEFAULT_PRICES, parse_prices
from tests.conftest import Serve, start
from tests.documents import (
    ADDRESS, Block, PAGES, README, ROOT, aioapp, blocks, curl, curls, environment, line_of, running, status_of, table)
from tests.test_architecture import APART, FLOORS

SERVE = ("python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt -e . && "
         ".venv/bin/python -m aioapp --simulate")
TEST = ("python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt -e '.[test]' && "
        ".venv/bin/python -m pytest")


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
