"""What the documents say of keys, prices and settings is true: their commands are run, their tables compared."""
import asyncio
import json
import re
import shlex
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aioapp import credentials
from aioapp.money import NANO
from aioapp.messages.meter import BYTES_A_TOKEN
from aioapp.messages.billing import Billing, Usage
from aioapp.settings import SettingError, Settings, flag_of, from_command_line, variable_of
from aioapp.usage import DEFAULT_PRICES, parse_prices
from tests.documents import ADDRESS, EVERYTHING, aioapp, blocks, curl, environment, running, table


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
    assert "charged 15 / 75" in EVERYTHING
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
    assert f"{BYTES_A_TOKEN} bytes a token" in EVERYTHING


# Settings.

def shown(default: object) -> str:
    match default:
        case bool():
            return "on" if default else "off"
        case None:
            return "none"
        case tuple():
            return ",".join(default)
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
    """The arguments of every `python -m aioapp` in the documents, in a shell's words or a container file's."""
    for line in re.findall(r"python -m aioapp( [^`\n]*)?$", EVERYTHING, re.MULTILINE):
        yield shlex.split(line)
    for words in re.findall(r'^CMD (\[.*\])$', EVERYTHING, re.MULTILINE):
        yield json.loads(words)[3:]


def test_every_command_line_is_one_that_aioapp_takes() -> None:
    lines = list(command_lines())
    assert ["--simulate"] in lines and ["--host", "0.0.0.0"] in lines and len(lines) >= 5
    for line in lines:
        assert isinstance(from_command_line(line, {}), Settings)


def test_a_bad_value_is_refused_as_the_documents_say() -> None:
    with pytest.raises(SettingError):
        from_command_line(["--cors-credentials", "--cors-origin", "*"], {})


async def test_a_port_in_use_is_told_in_the_words_of_the_guide() -> None:
    said = re.search(r"`(cannot listen on 127\.0\.0\.1 port )8000(: Address already in use)`", EVERYTHING)
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
    rows = re.findall(r"^\d\. (.+)$", EVERYTHING, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)]
    looked_for = re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", credentials.__doc__ or "")
    assert named == looked_for


async def test_a_server_without_credentials_starts_and_says_what_the_documents_say(http: aiohttp.ClientSession) -> None:
    async with running(sys.executable, "-m", "aioapp", "--port", "0", "--no-access-log") as url:
        async with http.get(f"{url}/health") as response:
            assert (response.status, (await response.json())["claude_client"]) == (503, "not initialized")
        async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}) as response:
            assert response.status == 503
            assert f"answers 503 `{(await response.json())['error']}`" in EVERYTHING.replace("\n", " ")
