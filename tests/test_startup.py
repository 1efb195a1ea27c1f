"""What the log says of a server's start and of its end, to whoever must find out later how it was."""
import re

import aiohttp
import pytest

from aioapp.settings import SettingError, Settings
from aioapp.startup import check
from tests.keyed import database, make_key, revoke
from tests.processes import GUNICORN, KEY, Server, serving
from tests.test_shutdown import draining, held, stream

SIMULATED = ("--simulate", "--simulate-pace", "0", "--cors-origin", "https://app.example")


def said(server: Server) -> list[str]:
    """The lines of the application's own log, without time and name."""
    return re.findall(r"(?m)^\S+ \S+ \w+ aioapp\.app: (.+)$", server.err)


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_start_says_in_a_line_each_what_the_server_is_made_of(workers: int) -> None:
    for name in ("web", "ci", "old"):
        make_key(name)
    revoke("old")
    async with serving(*SIMULATED, "--workers", f"{workers}") as server:
        assert await server.end() == 0
    assert said(server)[:3] == [
        f"The database is {database()}.", "Keys: 2 let callers in, of 3 that were ever made.", f"Workers: {workers}."]
    assert said(server).count("Credentials come from simulator.") == workers


async def test_the_start_names_the_source_of_the_credentials_and_no_part_of_them() -> None:
    async with serving("--cors-origin", "https://app.example", env={"ANTHROPIC_API_KEY": KEY}) as server:
        assert await server.end() == 0
    assert said(server)[:4] == [
        f"The database is {database()}.", "Keys: none was ever made.", "Workers: 1.",
        "Credentials come from ANTHROPIC_API_KEY."]
    assert KEY not in server.err


async def test_a_start_without_credentials_is_a_warning_as_ever() -> None:
    async with serving(*SIMULATED[3:]) as server:
        assert await server.end() == 0
    assert len(re.findall(r"WARNING aioapp\.app: .*ANTHROPIC_API_KEY", server.err)) == 1
    assert "Credentials come from" not in server.err


async def test_gunicorns_workers_say_it_too_but_for_their_number() -> None:
    make_key()
    async with serving(command=GUNICORN, env={"ANTHROPIC_API_KEY": KEY, "API_WORKERS": "3"}) as server:
        await server.says("Credentials come from")
        assert await server.end() == 0
    assert said(server)[:3] == [f"The database is {database()}.", "Keys: 1 lets callers in, of 1 that was ever made.",
                                "Credentials come from ANTHROPIC_API_KEY."]


async def test_the_end_says_once_how_many_generations_still_run(http: aiohttp.ClientSession) -> None:
    async with held() as (server, _, script), stream(http, server) as first, stream(http, server) as second:
        server.tell()
        await draining(http, server)
        script.release.set()
        await first.text(), await second.text()
        assert await server.ended() == 0
    assert [line for line in said(server) if "still run" in line] == [
        "Stopping: 2 generations still run, and get 10 s to end."]


async def test_an_end_with_nothing_under_way_says_so_too() -> None:
    async with serving(*SIMULATED) as server:
        assert await server.end() == 0
    assert said(server)[-1] == "Stopping: 0 generations still run, and get 10 s to end."


async def test_a_log_for_warnings_only_has_none_of_it() -> None:
    async with serving(*SIMULATED, "--log-level", "warning") as server:
        assert await server.end() == 0
    assert server.err == ""


async def test_alerts_that_nobody_could_verify_are_refused_before_the_server_opens() -> None:
    with pytest.raises(SettingError, match="API_ALERT_WEBHOOK_SECRET"):
        await check(Settings(alert_webhook="https://hooks.example"), database(), where=None)
