"""What is counted for Prometheus, by one process and by several together, and what never becomes a label."""
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.parser import text_string_to_metric_families

from aioapp import __version__
from aioapp.callers import NOBODY, Caller
from aioapp.generation import Admission, Generation, Outcome
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.messages.events import Usage
from aioapp.telemetry.metrics import CONTENT_TYPE, FAILURES, LIMITS, METHODS, Metrics, forget
from tests.generations import Counted
from tests.processes import ROOT, alive

Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]

WEB = Caller(name="web", known=True, secret="id-canary")
USED = Usage(input_tokens=12, output_tokens=34, cache_creation_input_tokens=5, cache_read_input_tokens=6)
NASTY = ("'; DROP TABLE keys; --", 'a"} 1\nforged_total 1', "\x1b[2J\x00\x7f", "\\", "ﬀ\u202e", "x" * 100_000)
KINDS = {
    "aioapp_build_info": "gauge",
    "aioapp_cost_usd": "counter",
    "aioapp_credentials_usable": "gauge",
    "aioapp_database_usable": "gauge",
    "aioapp_event_loop_lag_seconds": "histogram",
    "aioapp_generation_duration_seconds": "histogram",
    "aioapp_generations": "counter",
    "aioapp_generations_in_flight": "gauge",
    "aioapp_key_cost_usd": "counter",
    "aioapp_key_refusals": "counter",
    "aioapp_key_generations": "counter",
    "aioapp_key_tokens": "counter",
    "aioapp_limit_refusals": "counter",
    "aioapp_overhead_seconds": "histogram",
    "aioapp_process_cpu_seconds": "counter",
    "aioapp_process_open_fds": "gauge",
    "aioapp_process_resident_memory_bytes": "gauge",
    "aioapp_request_duration_seconds": "histogram",
    "aioapp_requests": "counter",
    "aioapp_time_to_first_token_seconds": "histogram",
    "aioapp_tokens": "counter",
    "aioapp_upstream_failures": "counter",
    "aioapp_workers": "gauge",
}
"""Dashboards are built on these names."""


def parsed(text: str) -> Series:
    return {(sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((f"aioapp_{name}", frozenset(labels.items())))


def counted(metrics: Metrics) -> Series:
    return parsed(metrics.render().decode())


def record(client: Caller = WEB, *, outcome: Outcome = "completed", usage: Usage = USED, nanodollars: int = 364_000,
           first: float | None = 0.3) -> Generation:
    prompt = TextPrompt(messages=(Turn("user", "prompt-canary"),), max_tokens=5, model="model-canary")
    return Generation(
        prompt=prompt, admission=Admission(caller=client, request_id="request-canary"), outcome=outcome, error=None,
        answer=Counted("model-canary", usage), nanodollars=nanodollars, first=first, duration=1.5)


def test_a_request_is_counted_by_method_route_and_status_and_timed_by_route() -> None:
    metrics = Metrics()
    for seconds in (0.02, 0.03, 700.0):
        metrics.request(method="POST", path="/api/generate", status=200, seconds=seconds)
    metrics.request(method="POST", path="/api/generate", status=429, seconds=0.001)
    series = counted(metrics)
    assert value(series, "requests_total", method="POST", path="/api/generate", status="200") == 3
    assert value(series, "requests_total", method="POST", path="/api/generate", status="429") == 1
    assert [value(series, "request_duration_seconds_bucket", path="/api/generate", le=le)
            for le in ("0.002", "0.05", "640.0", "+Inf")] == [1, 3, 3, 4]
    assert value(series, "request_duration_seconds_sum", path="/api/generate") == pytest.approx(700.051)


def test_a_generation_is_counted_under_its_model_and_its_key() -> None:
    metrics = Metrics()
    metrics.generation(record(), model="claude-*")
    metrics.generation(record(outcome="cancelled"), model="claude-*")
    series = counted(metrics)
    assert value(series, "generations_total", model="claude-*", outcome="completed") == 1
    assert value(series, "generations_total", model="claude-*", outcome="cancelled") == 1
    assert {kind: value(series, "tokens_total", model="claude-*", kind=kind)
            for kind in ("input", "output", "cache_write", "cache_read")} == {
                "input": 24, "output": 68, "cache_write": 10, "cache_read": 12}
    assert value(series, "cost_usd_total", model="claude-*") == pytest.approx(0.000728)
    assert value(series, "generation_duration_seconds_sum", model="claude-*") == 3.0
    assert value(series, "time_to_first_token_seconds_bucket", model="claude-*", le="0.25") == 0
    assert value(series, "time_to_first_token_seconds_bucket", model="claude-*", le="0.5") == 2
    assert value(series, "key_tokens_total", key="web") == 114
    assert value(series, "key_cost_usd_total", key="web") == pytest.approx(0.000728)
    assert value(series, "key_generations_total", key="web", outcome="cancelled") == 1


def test_a_generation_that_failed_at_once_is_counted_and_took_nothing() -> None:
    metrics = Metrics()
    metrics.generation(record(outcome="failed", usage=Usage(), nanodollars=0, first=None), model="*")
    series = counted(metrics)
    assert value(series, "generations_total", model="*", outcome="failed") == 1
    assert value(series, "time_to_first_token_seconds_count", model="*") is None
    assert value(series, "cost_usd_total", model="*") is None
    assert value(series, "key_tokens_total", key="web") == 0


def test_a_count_below_zero_that_claude_sends_takes_nothing_away_and_breaks_nothing() -> None:
    metrics = Metrics()
    metrics.generation(record(usage=Usage(input_tokens=-7, output_tokens=3), nanodollars=-5), model="*")
    series = counted(metrics)
    assert value(series, "tokens_total", model="*", kind="output") == value(series, "key_tokens_total", key="web") == 3
    assert value(series, "tokens_total", model="*", kind="input") is None


def test_what_ought_never_to_happen_begins_at_zero() -> None:
    series = counted(Metrics())
    assert all(value(series, "limit_refusals_total", limit=limit) == 0 for limit in LIMITS)
    assert all(value(series, "upstream_failures_total", kind=kind) == 0 for kind in FAILURES)
    assert LIMITS == {"budget", "server_budget", "concurrency", "requests_per_minute", "tokens_per_minute"}


def test_refusals_and_failures_are_counted_by_what_caused_them() -> None:
    metrics = Metrics()
    for limit in ("budget", "concurrency", "concurrency"):
        metrics.refused(limit)
    metrics.upstream_failed("Overloaded")
    series = counted(metrics)
    assert value(series, "limit_refusals_total", limit="concurrency") == 2
    assert value(series, "limit_refusals_total", limit="budget") == 1
    assert value(series, "upstream_failures_total", kind="Overloaded") == 1


def test_our_own_part_of_an_answer_is_told_from_a_tenth_of_a_millisecond_on() -> None:
    metrics = Metrics()
    for seconds in (0.00009, 0.00015, 0.0004):
        metrics.overhead(seconds)
    series = counted(metrics)
    assert [value(series, "overhead_seconds_bucket", le=le) for le in ("0.0001", "0.0002", "0.0005")] == [1, 2, 3]


def test_generations_in_flight_come_and_go() -> None:
    metrics = Metrics()
    assert value(counted(metrics), "generations_in_flight") == 0
    for delta in (1, 1, -1):
        metrics.in_flight(delta)
    assert value(counted(metrics), "generations_in_flight") == 1


def test_two_that_live_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.overhead(0.1)
    assert value(counted(one), "overhead_seconds_count") == 1
    assert value(counted(other), "overhead_seconds_count") == 0


def test_every_name_is_ours_and_known_and_nothing_else_is_told() -> None:
    metrics = Metrics()
    everything(metrics, "x")
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert {name: family.type for name, family in families.items()} == KINDS
    assert all(family.documentation for family in families.values())
    assert value(counted(metrics), "build_info", version=__version__) == 1


def test_the_content_type_is_that_of_what_is_rendered() -> None:
    assert CONTENT_TYPE == CONTENT_TYPE_PLAIN_0_0_4


def everything(metrics: Metrics, text: str) -> None:
    """Put `text` wherever text can be put."""
    metrics.request(method=text, path=text, status=200, seconds=0.1)
    metrics.generation(record(Caller(name=text, known=True)), model=text)
    metrics.refused(text)
    metrics.key_refused(text, text)
    metrics.upstream_failed(text)


def test_whatever_is_named_the_number_of_series_stays_bounded() -> None:
    metrics = Metrics()
    for number in range(3000):
        everything(metrics, f"x{number}")
        metrics.request(method="GET", path="/", status=number, seconds=0.1)
    full = counted(metrics)
    for number in range(3000, 6000):
        everything(metrics, f"x{number}")
        metrics.request(method="GET", path="/", status=-number, seconds=0.1)
    after = counted(metrics)
    assert after.keys() == full.keys()
    methods = {labels["method"] for name, pairs in after if name == "aioapp_requests_total" for labels in [dict(pairs)]}
    assert methods == {"GET", "other"} and "GET" in METHODS
    assert value(after, "limit_refusals_total", limit="other") == 6000
    assert value(after, "upstream_failures_total", kind="other") == 6000
    assert value(after, "generations_total", model="other", outcome="completed") == 5800
    assert value(after, "requests_total", method="GET", path="/", status="other") == 5500


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_text_breaks_the_format(text: str) -> None:
    metrics = Metrics()
    everything(metrics, text)
    series = counted(metrics)
    assert value(series, "requests_total", method="other", path=text, status="200") == 1
    assert value(series, "limit_refusals_total", limit="other") == 1
    assert {name for name, _ in series if not name.startswith("aioapp_")} == set()


def test_neither_prompt_nor_secret_nor_address_nor_request_is_named() -> None:
    metrics = Metrics()
    metrics.generation(record(), model="claude-*")
    metrics.generation(record(Caller(name="192.0.2.7")), model="claude-*")
    metrics.generation(record(NOBODY), model="claude-*")
    assert value(counted(metrics), "key_generations_total", key="anonymous", outcome="completed") == 2
    assert not [told for told in ("canary", "192.0.2.7") if told in metrics.render().decode()]


def test_prometheus_client_is_imported_only_once_something_is_counted() -> None:
    program = "import sys, aioapp.telemetry.metrics; assert 'prometheus_client' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


# What several processes count together. Each is told by a line to begin, and to render by each one after that.

WORKER = """
import sys
from pathlib import Path
from aioapp.telemetry.metrics import Metrics
from tests.test_telemetry_metrics import record
sys.stdin.readline()
metrics = Metrics(shared=Path(sys.argv[1]))
metrics.request(method="GET", path="/health", status=200, seconds=0.02)
metrics.generation(record(), model="claude-*")
metrics.overhead(0.0003)
metrics.in_flight(int(sys.argv[2]))
print("counted", flush=True)
for line in sys.stdin:
    print(metrics.render().decode() + "# EOF", flush=True)
"""


class Worker:
    """A process that has counted one of each, and `running` generations in flight."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder, self.process = folder, process

    def begin(self) -> "Worker":
        assert self._said("counted\n") == "counted\n"
        return self

    def counted(self) -> Series:
        return parsed(self._said("# EOF\n"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert not alive(self.process.pid)

    def _said(self, end: str) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        text = ""
        while not text.endswith(end):
            line = self.process.stdout.readline()
            assert line, "it has ended"
            text += line
        return text


@contextmanager
def worker(folder: Path, *, running: int) -> Iterator[Worker]:
    with subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), str(running)], cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}) as process:
        try:
            yield Worker(folder, process)
        finally:
            process.kill()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Worker, Worker]]:
    """Two that share a folder, with two and three generations in flight."""
    with ExitStack() as stack:
        one, other = [stack.enter_context(worker(tmp_path, running=running)) for running in (2, 3)]
        yield one.begin(), other.begin()


def test_each_of_several_processes_tells_what_all_have_counted(pair: tuple[Worker, Worker]) -> None:
    told = pair[0].counted()
    assert told == pair[1].counted()
    assert value(told, "requests_total", method="GET", path="/health", status="200") == 2
    assert value(told, "request_duration_seconds_bucket", path="/health", le="0.05") == 2
    assert value(told, "request_duration_seconds_count", path="/health") == 2
    assert value(told, "tokens_total", model="claude-*", kind="output") == 68
    assert value(told, "key_cost_usd_total", key="web") == pytest.approx(0.000728)
    assert value(told, "overhead_seconds_sum") == pytest.approx(0.0006)
    assert value(told, "generations_in_flight") == 5
    assert value(told, "build_info", version=__version__) == 1


def test_what_a_killed_process_has_counted_stays_but_what_it_ran_is_forgotten(pair: tuple[Worker, Worker]) -> None:
    killed, left = pair
    killed.kill()
    assert value(left.counted(), "generations_in_flight") == 5
    forget(killed.process.pid, killed.folder)
    told = left.counted()
    assert value(told, "generations_in_flight") == 3
    assert value(told, "requests_total", method="GET", path="/health", status="200") == 2
    assert value(told, "build_info", version=__version__) == 1
    forget(killed.process.pid, killed.folder)  # it may be told twice


def test_each_tells_its_own_part_once_the_folder_is_gone(pair: tuple[Worker, Worker]) -> None:
    shutil.rmtree(pair[0].folder)
    for one, running in zip(pair, (2, 3)):
        told = one.counted()
        assert value(told, "generations_in_flight") == running
        assert value(told, "requests_total", method="GET", path="/health", status="200") == 1
    forget(pair[0].process.pid, pair[0].folder)


def test_a_process_begins_at_nothing_in_flight_though_a_killed_one_had_its_id(tmp_path: Path) -> None:
    with worker(tmp_path, running=2) as killed, worker(tmp_path, running=3) as heir:
        killed.begin().kill()
        shutil.move(tmp_path / f"gauge_livesum_{killed.process.pid}.db",
                    tmp_path / f"gauge_livesum_{heir.process.pid}.db")
        assert value(heir.begin().counted(), "generations_in_flight") == 3


def test_both_ways_of_counting_tell_the_same_series(tmp_path: Path) -> None:
    alone = Metrics()
    alone.request(method="GET", path="/health", status=200, seconds=0.02)
    alone.generation(record(), model="claude-*")
    alone.overhead(0.0003)
    alone.in_flight(2)
    with worker(tmp_path, running=2) as shared:
        assert shared.begin().counted() == counted(alone)
