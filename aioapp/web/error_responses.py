"""Exceptions as errors that a caller can see."""
import logging
from collections.abc import Mapping

from aiohttp import web

from aioapp import errors
from aioapp.callers import NOBODY
from aioapp.generation import Admission, Generation, Transport
from aioapp.telemetry.metrics import Metrics
from aioapp.usage import Refusal
from aioapp.web import anthropic_errors, answers
from aioapp.web.context import CALLER, GENERATION, REFUSED_KEY, REQUEST_ID, SERVICES
from aioapp.web.endpoint import Shape, json_response

SHAPES = web.AppKey("shapes", dict[web.AbstractResource, Shape])
STREAMED = web.AppKey("streamed", set[web.AbstractResource | None])
"""The resources that answer with events alone."""

log = logging.getLogger("aioapp.web")


def as_app_error(
        error: Exception, request: web.Request, *, admission: Admission | None = None) -> errors.AppError:
    """The error to tell for any exception. What is not an error of ours is logged, and told only if `debug` is on.

    A refusal for the caller's own terms is counted: it is the request's, or that of the frame with this `admission`.
    """
    services = request.app[SERVICES]
    if isinstance(error, ExceptionGroup):
        error = first_of(error)
    if isinstance(error, errors.AppError):
        count(error, services.metrics)
        if error.refused is not None:
            refuse(error, request, reason=error.refused, admission=admission)
        return error
    log.error("Unexpected %s", type(error).__name__, exc_info=error)
    return errors.AppError(f"{type(error).__name__}: {error}" if services.debug else None)


def first_of(group: ExceptionGroup[Exception]) -> Exception:
    """The error of ours for which a task group has failed, if nothing else has failed in it."""
    ours, others = group.split(errors.AppError)
    if ours is None or others is not None:
        return group
    first: Exception = ours.exceptions[0]
    return first_of(first) if isinstance(first, ExceptionGroup) else first


def refuse(
        error: errors.AppError, request: web.Request, *, reason: errors.Reason, admission: Admission | None) -> None:
    """Count it for the key: one that may no longer come in is told by the error alone."""
    caller, generation = admission.caller if admission else request.get(CALLER), request.get(GENERATION)
    key = error.key or (caller.key if caller else None)
    if key is None and caller in (None, NOBODY):
        return
    if key is not None:
        request[REFUSED_KEY] = key
    services = request.app[SERVICES]
    services.metrics.key_refused(key, reason)
    services.ledger.refuse(Refusal(
        key=key or "", reason=reason, status=error.status, model=generation.asked_for if generation else "",
        request_id=admission.request_id if admission else request[REQUEST_ID],
        transport=transport_of(request, generation=generation, admission=admission)))


def transport_of(
        request: web.Request, *, generation: Generation | None, admission: Admission | None) -> Transport:
    if admission is not None:
        return "websocket"
    if generation is not None:
        return generation.transport
    return "sse" if request.match_info.route.resource in request.app[STREAMED] else "rest"


def count(error: errors.AppError, metrics: Metrics) -> None:
    match error:
        case errors.ServerBudgetSpent():
            metrics.refused("server_budget")
        case errors.LimitReached(refused=str(limit)) | errors.BudgetSpent(refused=str(limit)):
            metrics.refused(limit)
        case (errors.RateLimited() | errors.UpstreamFailed() | errors.UpstreamTimeout() | errors.Overloaded()
              | errors.CredentialsRefused()):
            metrics.upstream_failed(type(error).__name__)


def has_left(request: web.Request) -> bool:
    """Whether there is nobody any more to tell a failure to."""
    return request.transport is None or request.transport.is_closing()


def headers_of(error: errors.AppError) -> dict[str, str]:
    match error:
        case errors.UpgradeRequired():
            return {"Upgrade": "websocket"}
        case errors.RequestTimeout():
            return {"Connection": "close"}
        case errors.Unauthorized():
            return {"WWW-Authenticate": 'Bearer realm="aioapp"'}
        case errors.AppError(retry_after=int(seconds)):
            return {"Retry-After": str(seconds)}
    return {}


def shape_of(request: web.Request) -> Shape:
    """As its endpoint was declared."""
    resource = request.match_info.route.resource
    return request.app[SHAPES].get(resource, "aioapp") if resource is not None else "aioapp"


def error_response(request: web.Request, error: errors.AppError) -> web.Response:
    """The response that tells `error`, in the shape of its path; Claude's own words there, if it has any."""
    if shape_of(request) == "aioapp":
        return json_response(answers.rejection(error, request_id=request[REQUEST_ID]), status=error.status,
                             headers=headers_of(error))
    if error.said is not None:
        return web.Response(status=error.said.status, headers=error.said.headers, body=error.said.body)
    told = anthropic_errors.told(type(error))
    return json_response(anthropic_errors.problem(error, request_id=request[REQUEST_ID]), status=told.status,
                         headers={**told.headers, **headers_of(error)})


def titled(error: web.HTTPException) -> str:
    """aiohttp's own refusals in our words."""
    return TITLES.get(error.status, error.reason)


TITLES: Mapping[int, str] = {
    404: "No such path",
    405: "Method not allowed",
    413: "Request too large",
}
