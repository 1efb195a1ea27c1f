"""The command line, as its user meets it: in a process of its own."""
import asyncio
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import pytest

from aioapp.cli.serve import first_signal
from tests.processes import AIOAPP, NOTHING, Server, alive, children_of, serving, started, text_of, until

ENDS = [signal.SIGTERM, signal.SIGINT]
WITHOUT = "import sys; sys.modules[{!r}] = None; from aioapp.__main__ import main; sys.exit(main())"
"""The documented way to make a package missing: an import that finds None raises ModuleNotFoundError."""


def without(package: str) -> tuple[str, ...]:
    return sys.executable, "-c", WITHOUT.format(package), "--port", "0"


async def status_of(http: aiohttp.ClientSession, url: str, path: str = "/health") -> int:
    async with http.get(url + path) as response:
        return response.status


@pytest.mark.parametrize("number", ENDS)
async def test_it_prints_one_line_once_it_answers_and_a_signal_ends_it_in_order(
        http: aiohttp.ClientSession, number: signal.Signals) -> None:
    async with serving("--simulate", "--log-level", "warning", "--cors-origin", "https://app.example") as server:
        assert await status_of(http, server.url) == 200
        assert await server.end(number) == 0
    assert server.out.count("\n") == 1
    assert server.err == ""


async def test_nothing_is_left_behind(http: aiohttp.ClientSession) -> None:
    async with serving("--simulate", "--workers", "2") as server:
        children = children_of(server.pid)
        assert len(children) == 2
        assert await server.end() == 0
        assert not any(map(alive, children))
    with pytest.raises(aiohttp.ClientConnectorError):
        await status_of(http, server.url)


async def test_a_signal_during_the_start_leaves_no_traceback() -> None:
    async with started("--simulate") as server:
        await until(lambda: "uvloop" in text_of(Path(f"/proc/{server.pid}/maps")))
        await server.end(signal.SIGINT)
    assert "Traceback" not in server.err


async def test_credentials_of_nobody_are_no_reason_not_to_start(http: aiohttp.ClientSession) -> None:
    async with serving() as server:
        assert await status_of(http, server.url) == 503
        assert await status_of(http, server.url, "/health/live") == 200
        assert await server.end() == 0


WRONG: dict[str, tuple[list[str], dict[str, str], str]] = {
    "a number out of bounds": (["--port", "65536"], {}, "--port"),
    "a negative number": (["--port", "-1"], {}, "--port"),
    "no number": ([], {"API_WORKERS": "many"}, "API_WORKERS"),
    "no time": (["--shutdown-timeout", "nan"], {}, "--shutdown-timeout"),
    "an unknown flag": (["--prot", "1"], {}, "--prot"),
    "the beginning of a flag": (["--simul"], {}, "--simul"),
    "a value missing": (["--host"], {}, "--host"),
    "a value too many": (["--reload=yes"], {}, "--reload"),
    "a stray word": (["serve"], {}, "serve"),
    "any origin with cookies": (["--cors-origin", "*", "--cors-credentials"], {}, "--cors-credentials"),
    "an unknown host": (["--host", "nobody.invalid"], {}, "nobody.invalid"),
    "no host's name": (["--host", "a..b"], {}, "a..b"),
    "no URL": ([], {"ANTHROPIC_BASE_URL": "api.anthropic.com"}, "ANTHROPIC_BASE_URL"),
    "no socket": (["--fd", "0"], {}, "--fd 0"),
    "no file": (["--fd", "99"], {}, "--fd 99"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_cannot_be_used_is_one_line_that_names_it_and_status_2(case: str) -> None:
    flags, variables, named = WRONG[case]
    await refused(named, *flags, env=variables)


async def refused(
        named: str, *flags: str, command: Sequence[str] = AIOAPP, env: Mapping[str, str] = NOTHING) -> Server:
    async with started(*flags, command=command, env=env) as server:
        assert await server.ended() == 2
    assert (server.out, server.err.count("\n")) == ("", 1)
    assert server.err.startswith("aioapp: ") and named in server.err
    return server


async def test_an_occupied_port_is_one_line_and_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        await refused(f"port {taken.getsockname()[1]}: Address already in use",
                      "--port", str(taken.getsockname()[1]))


async def test_reload_without_watchfiles_is_one_line_and_status_2() -> None:
    await refused("--reload: needs the package watchfiles", "--reload", command=without("watchfiles"))


async def test_a_password_in_a_url_is_not_printed() -> None:
    server = await refused("ANTHROPIC_BASE_URL", env={"ANTHROPIC_BASE_URL": "https://user:sk-canary@example.com"})
    assert "sk-canary" not in server.err


async def test_help_tells_every_flag_and_version_the_version() -> None:
    async with started("--help") as helped, started("--version") as version:
        assert (await helped.ended(), await version.ended()) == (0, 0)
    assert "--shutdown-timeout" in helped.out and "API_SHUTDOWN_TIMEOUT" in helped.out
    assert version.out.startswith("aioapp 0.")


async def test_uvloop_is_used_where_it_is_installed() -> None:
    async with serving("--simulate") as server:
        assert "uvloop" in text_of(Path(f"/proc/{server.pid}/maps"))


async def test_asyncio_s_loop_is_used_where_uvloop_is_not(http: aiohttp.ClientSession) -> None:
    async with serving("--simulate", command=without("uvloop")) as server:
        assert "uvloop" not in text_of(Path(f"/proc/{server.pid}/maps"))
        assert await status_of(http, server.url) == 200
        assert await server.end() == 0
    assert "Traceback" not in server.err


@pytest.fixture
def few_files() -> Iterator[int]:
    """A limit of 256 open files, for what we start; gives the most that it may allow itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_as_many_files_may_be_open_as_the_system_allows(few_files: int) -> None:
    async with serving("--simulate") as server:
        assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (few_files, few_files)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"])
async def test_the_printed_address_is_one_that_answers(http: aiohttp.ClientSession, host: str) -> None:
    async with serving("--simulate", "--host", host, "--allow-anonymous") as server:
        assert await status_of(http, server.url) == 200
        assert "0.0.0.0" not in server.url and "[::]" not in server.url


@pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["alone", "workers"])
async def test_an_inherited_socket_is_served_and_said_so(http: aiohttp.ClientSession, flags: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        async with serving("--simulate", "--fd", str(given.fileno()), *flags, fds=[given.fileno()]) as server:
            assert server.url == "http://127.0.0.1:{}".format(given.getsockname()[1])
            assert await status_of(http, server.url) == 200
            assert await server.end() == 0


async def test_an_inherited_socket_of_another_kind_is_refused() -> None:
    one, other = socket.socketpair()
    with one, other:
        async with started("--fd", str(one.fileno()), fds=[one.fileno()]) as server:
            assert await server.ended() == 2
    assert "it is no TCP socket" in server.err and server.err.count("\n") == 1


class WithoutSignals(asyncio.SelectorEventLoop):
    """As on Windows."""

    def add_signal_handler(self, *_: object) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("loop_factory", [asyncio.SelectorEventLoop, WithoutSignals])
def test_the_first_signal_is_waited_for_and_the_second_ends_the_process(
        loop_factory: type[asyncio.AbstractEventLoop]) -> None:
    before = {number: signal.getsignal(number) for number in ENDS}

    async def run() -> None:
        stop = first_signal()
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())
        assert [signal.getsignal(number) for number in ENDS] == [signal.SIG_DFL] * 2
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_a_start_without_credentials_says_what_to_do(tmp_path: Path) -> None:
    async with started(env={"HOME": str(tmp_path)}) as server:
        await server.says("No credentials were found. Set ANTHROPIC_API_KEY, or run")
