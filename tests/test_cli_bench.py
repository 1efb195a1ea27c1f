"""`aioapp bench`: what it measures, what it refuses to, and what it leaves behind."""
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioapp.cli.bench.calls import CALLS, Target, Transport
from aioapp.cli.bench.command import run
from aioapp.cli.bench.load import Load
from aioapp.cli.bench.statistics import Round, Sample, Spread, percentile, spread, spreads
from tests.conftest import Serve
from tests.processes import until
from tests.upstreams import Connection, upstream, whole

QUICK = ("--seconds", "0.2", "--rounds", "2", "--connections", "4")


def test_a_percentile_is_one_of_the_values_by_its_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 99) == 7.0


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(1, 100))
def test_so_many_values_are_not_above_a_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share / 100 * len(values) - 1e-6


def test_errors_are_counted_and_are_no_times() -> None:
    samples = [Sample(first=0.1, whole=0.2, tokens=10), Sample(error="503"), Sample(error="503")]
    one = Round(samples=samples, seconds=2.0)
    assert (one.errors, one.figures()["calls_per_second"], one.figures()["whole_p99"]) == ({"503": 2}, 0.5, 0.2)
    assert spreads([one, Round(samples=[Sample(error="x")], seconds=1.0)])["calls_per_second"] == Spread(0.0, 0.25, 0.5)
    assert spread([3.0, 1.0, 2.0]) == Spread(1.0, 2.0, 3.0)


@pytest.mark.parametrize("transport", CALLS)
async def test_a_call_of_each_kind_is_timed_and_its_tokens_are_counted(
        transport: Transport, serve: Serve) -> None:
    async with upstream(whole) as claude:
        target = Target(url=await serve(claude.url), prompt="Hi", max_tokens=20)
        load = Load(connections=1, seconds=5.0, calls=2)
        done = await load.run(CALLS[transport], target, tick=lambda: None)
    assert not done.errors and len(done.samples) == 2
    assert all(0 < sample.first <= sample.whole and sample.tokens == 5 for sample in done.samples)


@pytest.mark.parametrize("transport", CALLS)
async def test_a_server_that_fails_is_a_count_and_no_end(transport: Transport, serve: Serve) -> None:
    async def fails(connection: Connection) -> None:
        await connection.answer(400, b'{"error": {"message": "no"}}')

    async with upstream(fails) as claude:
        target = Target(url=await serve(claude.url), prompt="Hi", max_tokens=20)
        done = await Load(connections=2, seconds=5.0, calls=6).run(CALLS[transport], target, tick=lambda: None)
        nobody = await Load(connections=1, seconds=5.0, calls=3).run(
            CALLS[transport], Target(url="http://127.0.0.1:1", prompt="Hi", max_tokens=1),
            tick=lambda: None)
    assert (sum(done.errors.values()), sum(nobody.errors.values())) == (6, 3)


async def test_at_a_fixed_rate_the_time_of_a_call_counts_from_when_it_was_due() -> None:
    """A server that stands still for a while would else look quick: nobody would have asked it meanwhile."""
    async def call(http: object, target: Target) -> Sample:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        return Sample(first=0.0, whole=asyncio.get_running_loop().time() - began)

    async def stand_still() -> None:
        await asyncio.sleep(0.05)
        time.sleep(0.3)  # nothing of this process goes on

    load = Load(connections=1, seconds=0.5, rate=100.0)
    blocking = asyncio.create_task(stand_still())
    done = await load.run(call, Target(url="", prompt="", max_tokens=1), tick=lambda: None)
    await blocking
    assert len(done.samples) == 50
    assert 0.2 < max(sample.whole for sample in done.samples) < 0.5
    assert sum(sample.whole > 0.05 for sample in done.samples) >= 20


def bench(*argv: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "aioapp", "bench", *argv], capture_output=True, text=True, env=env,
                          timeout=60)


def test_all_of_it_is_measured_for_programs() -> None:
    ran = bench(*QUICK, "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert set(told) == {"cores", "transports", "added_seconds", "bytes_per_stream"}
    assert set(told["transports"]) == {"rest", "sse", "websocket"}
    for figures in told["transports"].values():
        assert figures["errors"] == {}
        assert all(spread == sorted(spread) and len(spread) == 3 for spread in figures.values() if spread != {})
    assert told["added_seconds"]["p99"] > 0 and 0 < told["bytes_per_stream"] < 2**17


@pytest.mark.parametrize("rich", [True, False])
def test_people_get_a_table_or_plain_lines(rich: bool, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("" if rich else (
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'rich' else found(name, *more)\n"))
    ran = bench(*QUICK, "--transport", "rest", "--rate", "50", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert ran.returncode == 0, ran.stderr
    assert ("┃" in ran.stdout) == rich
    assert all(said in ran.stdout for said in ("calls a second", "whole answer, p99", "50 calls a second", "cores"))
    assert "rest, round 2 of 2" in ran.stderr


@pytest.mark.parametrize("argv", [("--rate", "0"), ("--rounds", "x"), ("--transport", "smoke"), ("--url", "nowhere")])
def test_what_cannot_be_used_is_status_2(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv, {}) == 2
    assert capsys.readouterr().err


async def test_a_real_claude_is_not_asked_unless_that_is_said(
        serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    async with upstream(*[whole] * 8) as claude:
        url = await serve(claude.url)
        status = await asyncio.to_thread(run, ["--url", url], {})
        assert status == 2 and not claude.seen
        assert "up to 180 calls, and at most $" in capsys.readouterr().err
        live = ["--url", url, "--live", "--calls", "2", "--rounds", "1", "--transport", "rest", "--json"]
        assert await asyncio.to_thread(run, live, {}) == 0
        assert len(claude.seen) == 2
    said = capsys.readouterr()
    assert "up to 2 calls" in said.err and json.loads(said.out)["added_seconds"] is None


async def test_calls_that_fail_are_status_1(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    async def fails(connection: Connection) -> None:
        await connection.answer(400, b"{}")

    async with upstream(fails) as claude:
        live = ["--url", await serve(claude.url), "--live", "--calls", "1", "--rounds", "1", "--transport", "rest"]
        assert await asyncio.to_thread(run, live, {}) == 1
    assert "1 times 400 Bad request" in capsys.readouterr().out


async def test_whoever_stops_it_is_left_with_no_process_and_no_file(tmp_path: Path) -> None:
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aioapp", "bench", "--seconds", "60", env=environ, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE, start_new_session=True)
    assert process.stderr is not None
    while b"warm-up" not in await process.stderr.readline():
        pass
    assert list(tmp_path.iterdir())
    process.send_signal(signal.SIGINT)
    await process.stderr.read()
    assert await process.wait() == 130
    assert list(tmp_path.iterdir()) == []
    await until(lambda: not members(process.pid))


def members(group: int) -> list[str]:
    """What still runs of the processes that it began."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(stat.parent.name)
    return found
