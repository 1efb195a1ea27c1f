"""Notes what was asked and how it ended: a line in the log and a count in the metrics, for a request as for a frame."""
import time

from aiohttp import web

from aioapp.generation import Call, Record
from aioapp.telemetry.logs import AccessRecord, log_request
from aioapp.web.context import BEGAN, CALL, CALLER, REQUEST_ID, SERVICES

LEFT = 499
"""The status that is counted for a caller who did not wait for one, as nginx has it."""


def log_exchange(request: web.Request, status: int | None) -> None:
    """`status` is None where the caller has left."""
    caller, record = request.get(CALLER), taken(request.get(CALL))
    seconds = time.perf_counter() - request[BEGAN]
    log_request(AccessRecord(
        remote=request.remote or "", key=caller.key if caller else None, method=request.method,
        path=request.rel_url.raw_path, status=status, seconds=seconds, request_id=request[REQUEST_ID], record=record))
    metrics = request.app[SERVICES].metrics
    metrics.request(method=request.method, path=pattern(request), status=status or LEFT, seconds=seconds)
    if record and record.outcome == "completed" and not record.call.live:
        metrics.overhead(max(0.0, seconds - record.call.meter.waited))


def log_frame(request: web.Request, call: Call, *, status: int | None, seconds: float) -> None:
    """A frame on a WebSocket that asked for a generation."""
    log_request(AccessRecord(
        remote=request.remote or "", key=call.caller.key, method="FRAME", path=request.rel_url.raw_path, status=status,
        seconds=seconds, request_id=call.request_id, record=taken(call)))


def taken(call: Call | None) -> Record | None:
    """The record of the call, which lets go of it: they would keep each other in memory."""
    if call is None:
        return None
    record, call.meter.record = call.meter.record, None
    return record


def pattern(request: web.Request) -> str:
    """The path as it was declared: there are only so many of those."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "unmatched"
