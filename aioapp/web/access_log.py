"""Tells what was asked and how it ended: a line in the log and a count in the metrics, for a request as for a frame."""
import logging
import time

from aiohttp import web

from aioapp.generation import LEFT, Admission, Generation
from aioapp.telemetry.logs import AccessRecord, is_logged, log_request
from aioapp.web.context import BEGAN, CALLER, GENERATION, REFUSED_KEY, REQUEST_ID, SERVICES, TURNED_AWAY
from aioapp.web.proxies import remote_of

PROBES = frozenset({"/health", "/health/ready", "/health/live"})
"""What balancers and supervisors ask every few seconds."""


def log_exchange(request: web.Request, status: int | None) -> None:
    """`status` is None where the caller has left."""
    generation, seconds = request.get(GENERATION), time.perf_counter() - request[BEGAN]
    services, path = request.app[SERVICES], pattern(request)
    level = logging.DEBUG if path in PROBES and not services.log_probes else logging.INFO
    if is_logged(level):
        caller = request.get(CALLER)
        log_request(AccessRecord(
            remote=remote_of(request), key=caller.key if caller else request.get(REFUSED_KEY), method=request.method,
            path=request.rel_url.raw_path, status=status, seconds=seconds, request_id=request[REQUEST_ID],
            generation=generation, refused=request.get(TURNED_AWAY)), level=level)
    metrics = services.metrics
    metrics.request(method=request.method, path=path, status=status or LEFT, seconds=seconds)
    if generation and generation.outcome == "completed" and not generation.live:
        metrics.overhead(max(0.0, seconds - generation.meter.waited))


def log_frame(
        request: web.Request, admission: Admission, *, generation: Generation | None, status: int | None,
        seconds: float, method: str = "FRAME",
) -> None:
    """What asks for a generation and is no request itself: a frame on a WebSocket, or a handler that asks Claude."""
    log_request(AccessRecord(
        remote=remote_of(request), key=admission.caller.key, method=method, path=request.rel_url.raw_path,
        status=status, seconds=seconds, request_id=admission.request_id, generation=generation))


def pattern(request: web.Request) -> str:
    """The path as it was declared: there are only so many of those."""
    resource = request.match_info.route.resource
    return "unmatched" if resource is None else resource.canonical  # a resource's truth is its length
