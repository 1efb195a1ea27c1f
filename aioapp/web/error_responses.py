"""Exceptions as errors that a caller can see."""
import logging
from collections.abc import Mapping

from aiohttp import web

from aioapp import errors
from aioapp.services import Services
from aioapp.telemetry.metrics import Metrics
from aioapp.web import anthropic_errors, answers
from aioapp.web.context import REQUEST_ID
from aioapp.web.endpoint import Shape, json_response

SHAPES = web.AppKey("shapes", dict[web.AbstractResource, Shape])

log = logging.getLogger("aioapp.web")


def as_app_error(error: Exception, services: Services) -> errors.AppError:
    """The error to tell for any exception. What is not an error of ours is logged, and told only if `debug` is on."""
    if isinstance(error, errors.AppError):
        count(error, services.metrics)
        return error
    log.error("Unexpected %s", type(error).__name__, exc_info=error)
    return errors.AppError(f"{type(error).__name__}: {error}" if services.debug else None)


def count(error: errors.AppError, metrics: Metrics) -> None:
    match error:
        case errors.LimitReached(refused=limit):
            metrics.refused(limit)
        case errors.ServerBudgetSpent():
            metrics.refused("server_budget")
        case errors.BudgetSpent():
            metrics.refused("budget")
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
