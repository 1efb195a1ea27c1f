"""`aioapp bench`: what it measures, what it refuses to, and what it leaves behind."""
import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aioapp.cli.bench.command import run
from aioapp.cli.bench.report import as_json
from tests.conftest import Serve
from tests.keyed import make_key
from tests.processes import alive, children_of, until
from tests.upstreams import Connection, upstream, whole

QUICK = ("--seconds", "0.2", "--rounds", "2", "--connections", "4")
ONCE = ("--rounds", "1", "--transport", "rest", "--calls", "1", "--json")


def bench(*argv: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "aioapp", "bench", *argv], capture_output=True, text=True,
                          env={**os.environ, **environ}, timeout=60)


def test_all_of_it_is_measured_for_programs(tmp_path: Path) -> None:
    ran = bench(*QUICK, "--json", TMPDIR=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert set(told) == {"version", "cores", "connections", "rate", "seconds", "rounds", "transports"}
    assert (told["connections"], told["rate"], told["seconds"], told["rounds"]) == (4, None, 0.2, 2)
    assert list(told["transports"]) == ["rest", "sse", "websocket"]
    times = {f"{prefix}{kind}_{point}" for prefix in ("", "added_") for kind in ("first", "whole")
             for point in ("p50", "p95", "p99")}
    for name, figures in told["transports"].items():
        assert figures.pop("errors") == {}
        memory = figures.pop("bytes_per_stream")
        assert memory is None if name == "rest" else 2**12 < memory < 2**18
        assert set(figures) == {"calls_per_second", "tokens_per_second", *times}
        assert all(spread == sorted(spread) and len(spread) == 3 for spread in figures.values())
        assert 0 < figures["first_p50"][1] <= figures["whole_p50"][1] and figures["added_whole_p50"][1] > 0
    assert list(tmp_path.iterdir()) == []


def test_every_key_of_it_is_documented() -> None:
    told = as_json.__doc__ or ""
    for name in ("version", "cores", "connections", "rate", "seconds", "rounds", "transports", "calls_per_second",
                 "tokens_per_second", "first_p50", "first_p95", "first_p99", "whole_…", "late_starts", "added_first_…",
                 "added_whole_…", "errors", "count", "first", "bytes_per_stream"):
        assert f"`{name}`" in told


@pytest.mark.parametrize("rich", [True, False])
def test_people_get_a_table_or_plain_lines(rich: bool, tmp_path: Path) -> None:
    if not rich:
        (tmp_path / "rich.py").write_text("raise ImportError('it is not installed')\n")
    ran = bench(*QUICK, "--transport", "rest", "--rate", "50", "--keyless", PYTHONPATH=str(tmp_path), COLUMNS="200")
    assert ran.returncode == 0, ran.stderr
    assert ("┃" in ran.stdout) == rich
    for said in ("calls a second", "late starts", "whole answer, p99", "whole answer, added, p50", "50 calls a second",
                 "least – middle – most", "share this machine", f"{os.cpu_count()} cores"):
        assert said in ran.stdout
    assert "first text" not in ran.stdout
    assert "rest, round 2 of 2 …" in ran.stderr.splitlines()


@pytest.mark.parametrize("rich", [True, False])
def test_on_a_terminal_a_bar_is_drawn_where_rich_is_there_to_draw_it(rich: bool, tmp_path: Path) -> None:
    if not rich:
        (tmp_path / "rich.py").write_text("raise ImportError('it is not installed')\n")
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "TERM": "xterm", "COLUMNS": "100"}
    with open(ours, "rb", closefd=True) as terminal:
        process = subprocess.Popen([sys.executable, "-m", "aioapp", "bench", *QUICK, "--transport", "rest", "--json"],
                                   stdout=subprocess.PIPE, stderr=theirs, env=environ)
        os.close(theirs)
        seen = shown(terminal.fileno())
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and set(json.loads(out)["transports"]) == {"rest"}
    assert "rest, round 2 of 2" in seen
    assert ("━" in seen and "3/3" in seen or "2/3" in seen) == rich


def shown(terminal: int) -> str:
    """All that a process writes to its terminal until it ends, which a terminal of Linux tells as an error."""
    seen = b""
    try:
        while data := os.read(terminal, 65536):
            seen += data
    except OSError:
        pass
    return seen.decode()


@pytest.mark.parametrize("argv", [
    ("--rate", "0"), ("--rounds", "x"), ("--connections", "10001"), ("--seconds", "nan"), ("--transport", "smoke"),
    ("--url", "nowhere"), ("--url", "ftp://127.0.0.1/"), ("--url", "http://127.0.0.1:1"), ("--smoke",)])
def test_what_cannot_be_used_is_status_2_and_one_line(
        argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv, {}) == 2
    said = capsys.readouterr()
    assert said.err.startswith("aioapp") and said.err.count("\n") == 1 and not said.out


def test_its_help_tells_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"], {}) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "everybody on this machine sees a flag" in said and "--live" in said and "ends with its call 1000000" in said


async def test_a_real_claude_is_not_asked_unless_that_is_said(
        serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    async with upstream(whole) as claude:
        url = await serve(claude.url)
        status = await asyncio.to_thread(run, ["--url", url], {})
        assert status == 2 and not claude.seen
        assert "up to 180 calls" in capsys.readouterr().err
        assert await asyncio.to_thread(run, ["--url", url, "--live", *ONCE, "--calls", "2"], {}) == 0
        assert len(claude.seen) == 2  # none to warm up, which would cost as well
    said = capsys.readouterr()
    assert "up to 2 calls" in said.err
    figures = json.loads(said.out)["transports"]["rest"]
    assert figures["bytes_per_stream"] is None and "added_whole_p50" not in figures


@pytest.mark.parametrize(("model", "cost"), [
    ("claude-sonnet-5-5", "$0.08 at most at the price of claude-sonnet-5-5"),
    (None, "$0.57 at most at the price of the dearest model")])
async def test_what_it_would_cost_is_told_before(
        model: str | None, cost: str, serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--rounds", "2", "--transport", "sse", "--calls", "15", "--max-tokens", "200"]
    asked = [] if model is None else ["--model", model]
    async with upstream(whole) as claude:
        assert await asyncio.to_thread(run, ["--url", await serve(claude.url), *argv, *asked], {}) == 2
    said = capsys.readouterr().err
    assert "up to 30 calls" in said and "200 out" in said and cost in said


@pytest.mark.parametrize("answer", [
    b"{}", b"<html>", b'{"success": true, "status": {"source": "ANTHROPIC_API_KEY"}}', b"null",
    b'{"success": false, "status": {"source": "simulator"}}', b'{"success": true, "status": "simulator"}'])
async def test_what_does_not_say_that_it_simulates_is_taken_for_real(
        answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    async def other(connection: Connection) -> None:
        assert connection.head.startswith("GET /auth-status")
        await connection.answer(200, answer)

    async with upstream(other) as server:
        assert await asyncio.to_thread(run, ["--url", server.url], {}) == 2
        assert len(server.seen) == 1
    assert "does not say that it simulates" in capsys.readouterr().err


async def test_a_server_is_not_believed_what_another_says_to_which_it_sends_on(serve: Serve) -> None:
    simulating = await serve()

    async def sends_on(connection: Connection) -> None:
        await connection.answer(307, b"", location=f"{simulating}/auth-status")

    async with upstream(sends_on) as server:
        assert await asyncio.to_thread(run, ["--url", server.url], {}) == 2
        assert len(server.seen) == 1


async def test_a_server_that_simulates_is_measured_with_the_key_of_the_environment_or_of_the_flag(
        serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    key, url = make_key(), await serve()
    assert await asyncio.to_thread(run, ["--url", url, *ONCE, *QUICK], {}) == 2
    assert "401: A valid key is needed" in capsys.readouterr().err
    for argv, environ in (((), {"API_KEY": key}), (("--key", key), {"API_KEY": "another"})):
        assert await asyncio.to_thread(run, ["--url", url + "/", *ONCE, *QUICK, *argv], environ) == 0
        assert json.loads(capsys.readouterr().out)["transports"]["rest"]["calls_per_second"][0] > 1


async def test_calls_that_fail_are_status_1(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    async def fails(connection: Connection) -> None:
        await connection.answer(400, b'{"error": {"type": "invalid_request_error", "message": "no"}}')

    async with upstream(fails) as claude:
        live = ["--url", await serve(claude.url), "--live", "--calls", "2", "--rounds", "2", "--transport", "rest"]
        assert await asyncio.to_thread(run, live, {}) == 1
        assert "4 times 400 Bad request; first:" in " ".join(capsys.readouterr().out.split())
        assert await asyncio.to_thread(run, [*live, "--json"], {}) == 1
    errors = json.loads(capsys.readouterr().out)["transports"]["rest"]["errors"]
    assert errors["400 Bad request"]["count"] == 4 and "no" in errors["400 Bad request"]["first"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("load", [(), ("--rate", "100")])
async def test_whoever_stops_it_is_left_with_no_process_and_no_file(
        number: signal.Signals, status: int, load: tuple[str, ...], tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioapp", "bench", "--seconds", "60", *load, env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    while b"round 1" not in (line := await process.stderr.readline()):
        assert line
    started = children_of(process.pid)
    assert len(started) == 2 and list(tmp_path.iterdir())
    process.send_signal(number)
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (status, b"", b"")
    assert list(tmp_path.iterdir()) == []
    await until(lambda: not any(map(alive, started)))


def test_a_server_that_does_not_start_is_told_with_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'aioapp.simulator' in sys.orig_argv:\n    sys.exit('there is no room')\n")
    ran = bench(*QUICK, PYTHONPATH=str(tmp_path), TMPDIR=str(tmp_path))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("aioapp: ") and "there is no room" in ran.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("aioapp-bench")] == []
