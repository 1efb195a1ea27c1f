"""What is counted for Prometheus. Labels take few values: what a caller makes up never becomes one.

Names and units are those of https://prometheus.io/docs/practices/naming; money is in US dollars (ISO 4217).
"""
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from aioapp import __version__, errors
from aioapp.callers import Limits
from aioapp.money import NANO
from aioapp.generation import Generation
from aioapp.telemetry.series import FIRST, OTHER, QUICK, USUAL, Adds, Names, Observes
from aioapp.telemetry.vitals import LATE, Vitals, gauge

if TYPE_CHECKING:
    from prometheus_client import Counter
    from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ANONYMOUS = "anonymous"

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
LIMITS = frozenset({"budget", "server_budget", *(limit.name for limit in fields(Limits))})
REASONS = frozenset(get_args(errors.Reason))
FAILURES = frozenset(error.__name__ for error in (
    errors.CredentialsRefused, errors.Overloaded, errors.RateLimited, errors.Unavailable, errors.UpstreamFailed,
    errors.UpstreamTimeout))


class Metrics:
    """One process's counts, or, with `shared`, its part of what all processes count that share this folder.

    prometheus-client shares only where the environment said so, by PROMETHEUS_MULTIPROC_DIR, when it was first
    imported. Only one instance may live in a process that shares.
    """

    def __init__(self, *, shared: Path | None = None) -> None:
        # Imported here: it takes 10 ms, and reads the environment as it is then.
        from prometheus_client import CollectorRegistry, disable_created_metrics

        # They would double the number of series; processes that share have none anyway.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no hints
        self._shared = shared
        self._pending: defaultdict[Adds, float] = defaultdict(float)
        self._registry, self._asked = CollectorRegistry(), CollectorRegistry()
        self._paths, self._models, self._keys = Names(200), Names(200), Names(2000)
        self._set_up_requests()
        self._set_up_generations()
        self._set_up_gauges()

    def request(self, *, method: str, path: str, status: int, seconds: float) -> None:
        """One request, ended. `path` is its route's pattern."""
        path = self._paths.of(path)
        self._pending[self._requests(
            method if method in METHODS else OTHER, path, status if 100 <= status < 600 else OTHER)] += 1
        self._request_durations(path).observe(seconds)
        if self._shared is not None:
            self._add_up()

    def generation(self, generation: Generation, *, model: str) -> None:
        """One generation, however it ended. `model` is the row of the price table that it was charged by."""
        model, key = self._models.of(model), self._keys.of(generation.admission.caller.key or ANONYMOUS)
        pending, usage, cost, total = self._pending, generation.usage, generation.nanodollars / NANO, 0
        pending[self._generations(model, generation.outcome)] += 1
        pending[self._key_generations(key, generation.outcome)] += 1
        self._durations(model).observe(generation.duration)
        if generation.first is not None:
            self._firsts(model).observe(generation.first)
        if cost > 0:
            pending[self._cost(model)] += cost
            pending[self._key_cost(key)] += cost
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens),
                            ("cache_write", usage.cache_creation_input_tokens),
                            ("cache_read", usage.cache_read_input_tokens)):
            if count > 0:
                pending[self._tokens(model, kind)] += count
                total += count
        pending[self._key_tokens(key)] += total
        if self._shared is not None:
            self._add_up()

    def refused(self, limit: str) -> None:
        """Something was refused for a limit: one of `LIMITS`."""
        self._refusals(limit if limit in LIMITS else OTHER).inc()

    def key_refused(self, key: str | None, reason: str) -> None:
        """A key was refused for its own terms: `reason` is one of `errors.Reason`."""
        self._key_refusals(self._keys.of(key or ANONYMOUS), reason if reason in REASONS else OTHER).inc()

    def upstream_failed(self, kind: str) -> None:
        """Claude failed a caller: `kind` is one of `FAILURES`, the name of the error."""
        self._failures(kind if kind in FAILURES else OTHER).inc()

    def overhead(self, seconds: float) -> None:
        """What a request that was answered in one piece took beyond the wait for Claude."""
        self._overheads.observe(seconds)

    def in_flight(self, delta: int) -> None:
        """So many more generations run, or fewer."""
        self._pending[self._in_flight] += delta
        if self._shared is not None:
            self._add_up()

    def ask(self, collector: "Collector") -> None:
        """Have it asked whenever somebody reads: for what any one process can tell of all."""
        self._asked.register(collector)

    def render(self) -> bytes:
        """All counts in Prometheus's text format, of content type `CONTENT_TYPE`.

        Our own part alone where what others have counted cannot be read, as when the folder was removed.
        """
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        self._add_up()
        if self._shared is None:
            return generate_latest(self._registry) + generate_latest(self._asked)
        everybody = CollectorRegistry()
        try:
            multiprocess.MultiProcessCollector(everybody, self._shared)  # type: ignore[no-untyped-call]  # no hints
            counted = generate_latest(everybody)
        except (OSError, ValueError):  # ValueError: it is no folder
            counted = generate_latest(self._registry)
        return counted + generate_latest(self._asked)

    def _add_up(self) -> None:
        """At once where others read it too; else when it is asked for, which costs a third of it for each request."""
        for series in list(self._pending):
            series.inc(self._pending.pop(series, 0.0))  # another scrape may be taking them too

    def _set_up_requests(self) -> None:
        self._requests = cache(self._counter("requests", "Requests, ended", "method", "path", "status").labels)
        self._request_durations = self._histogram(
            "request_duration_seconds", "Time from a request to the end of its answer", "path", buckets=USUAL)
        self._overheads = self._histogram(
            "overhead_seconds", "Time that an answer in one piece took beyond the wait for Claude", buckets=QUICK)()
        self._refusals = cache(self._counter("limit_refusals", "Refusals for a limit of this server", "limit").labels)
        self._failures = cache(self._counter("upstream_failures", "Failures of Claude, told to callers", "kind").labels)
        # A series that begins at 1 shows no rate for its first step, and these steps matter.
        for limit in LIMITS:
            self._refusals(limit)
        for kind in FAILURES:
            self._failures(kind)

    def _set_up_generations(self) -> None:
        self._generations = cache(self._counter("generations", "Generations, ended", "model", "outcome").labels)
        self._durations = self._histogram(
            "generation_duration_seconds", "Time that a generation took", "model", buckets=USUAL)
        self._firsts = self._histogram(
            "time_to_first_token_seconds", "Time to the first piece of an answer", "model", buckets=FIRST)
        self._tokens = cache(self._counter("tokens", "Tokens that were used", "model", "kind").labels)
        self._cost = cache(self._counter("cost_usd", "What generations cost", "model").labels)
        self._key_generations = cache(self._counter(
            "key_generations", "Generations of a key, ended", "key", "outcome").labels)
        self._key_tokens = cache(self._counter("key_tokens", "Tokens that a key used", "key").labels)
        self._key_refusals = cache(self._counter(
            "key_refusals", "Refusals of a key for its own terms", "key", "reason").labels)
        self._key_cost = cache(self._counter("key_cost_usd", "What a key's generations cost", "key").labels)

    def _set_up_gauges(self) -> None:
        from prometheus_client import Gauge

        self.vitals = Vitals(
            self._registry, worked=self._counter("process_cpu_seconds", "The processor's seconds that they took"),
            late=self._histogram("event_loop_lag_seconds", "How late the event loop is", buckets=LATE)())
        self._in_flight = gauge(
            self._registry, "generations_in_flight", text="Generations that run now", mode="livesum")
        self._in_flight.set(0)  # a process that was killed may have had our id, and left its count to us
        # As a gauge, since processes that share have no Info.
        Gauge("build_info", "What this server is", ("version",), namespace="aioapp", registry=self._registry,
              multiprocess_mode="livemax").labels(__version__).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> "Counter":
        from prometheus_client import Counter

        return Counter(name, text, labels, namespace="aioapp", registry=self._registry)

    def _histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Callable[..., Observes]:
        """Gives the series of labels' values."""
        from prometheus_client import Histogram

        from aioapp.telemetry.histogram import PlainHistogram

        if self._shared is None:
            plain = PlainHistogram(f"aioapp_{name}", text, labels=labels, buckets=buckets)
            self._registry.register(plain)
            return cache(plain.labels)
        shared = Histogram(name, text, labels, namespace="aioapp", registry=self._registry, buckets=buckets)
        return cache(shared.labels) if labels else lambda: shared


def forget(pid: int, folder: Path) -> None:
    """Take a process that has ended out of what counts only while it runs; its counters stay."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]  # it has no hints
