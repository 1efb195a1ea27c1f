"""What happens to every request: it gets an id, its failures get one shape, and its end gets a line in the log.

Those that have nothing to do afterwards are no coroutines: each of these is gone through again whenever a handler that
waited goes on, which a stream does for every read.
"""
import logging
import re
import time
from collections.abc import Awaitable

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from aioapp.errors import AppError, BadRequest, VersionNotSupported
from aioapp.web import anthropic_errors, answers
from aioapp.web.access_log import log_exchange
from aioapp.web.context import BEGAN, PREPARED, REFUSED, REQUEST_ID
from aioapp.web.endpoint import Handler, json_response
from aioapp.web.error_responses import as_app_error, error_response, has_left, shape_of, titled
from aioapp.web.refusal import SERVER, new_id, refused

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

log = logging.getLogger("aioapp.requests")


@web.middleware
def identified(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
    """Name the request, before anything else happens to it."""
    identify(request)
    return handler(request)


def identify(request: web.Request) -> None:
    """Name the request as its caller did, if that is sane, else anew."""
    given = request.headers.get("X-Request-ID", "")
    request[REQUEST_ID] = given if SANE_ID.fullmatch(given) else new_id()
    request[BEGAN] = time.perf_counter()


@web.middleware
async def logged(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note each request, those included that their caller left. Never the query: secrets are put there."""
    status: int | None = None
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        log_exchange(request, status)


@web.middleware
def conforming(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
    """Refuse what aiohttp's parser lets pass and HTTP does not; what follows on the connection cannot be trusted."""
    error = nonconformity(request)
    return handler(request) if error is None else refusing(error, request)


async def refusing(error: AppError, request: web.Request) -> web.StreamResponse:
    if shape_of(request) == "aioapp":
        return refused(error, request_id=request[REQUEST_ID])
    response = error_response(request, error)
    response.force_close()
    return response


def nonconformity(request: web.Request) -> AppError | None:
    if REFUSED in request:
        return request[REFUSED]
    if request.version not in (HttpVersion11, HttpVersion10):
        return VersionNotSupported("Use HTTP/1.1.")
    if request.version == HttpVersion10 and hdrs.TRANSFER_ENCODING in request.headers:
        return BadRequest("HTTP/1.0 has no Transfer-Encoding (RFC 9112 §6.1).")
    if request.method == hdrs.METH_CONNECT:
        return BadRequest("This server is no proxy.")
    return None


@web.middleware
async def explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure in the error shape, unless an answer is under way or its caller has gone."""
    try:
        return await handler(request)
    except Exception as error:
        if PREPARED in request or has_left(request):
            if not has_left(request):
                log.error("%s: failed with an answer under way, which is cut", request[REQUEST_ID], exc_info=error)
            # Anything else aiohttp would log as a fault, or write as a second response into the one under way.
            raise ConnectionAbortedError from error
        if isinstance(error, web.HTTPException):
            return restated(request, error)
        return error_response(request, as_app_error(error, request))


def restated(request: web.Request, error: web.HTTPException) -> web.Response:
    """aiohttp's refusal in the error shape, with what its headers say (`Allow`, say). A redirect is none."""
    if error.status < 400:
        raise error
    body: answers.Object
    if shape_of(request) == "anthropic":
        body = anthropic_errors.described(
            anthropic_errors.of_status(error.status), titled(error), request_id=request[REQUEST_ID])
    else:
        body = {"success": False, "error": titled(error), "timestamp": answers.now(), "request_id": request[REQUEST_ID]}
    kept = {name: value for name, value in error.headers.items() if name not in ("Content-Type", "Content-Length")}
    return json_response(body, status=error.status, headers=kept)


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """A signal's receiver, not a middleware: it sees streams and sockets too, and before their headers are sent."""
    try:
        request_id = request[REQUEST_ID]
    except KeyError:  # aiohttp refuses an Expect that it does not know before any middleware runs
        identify(request)
        request_id = request[REQUEST_ID]
    request[PREPARED] = True
    headers = response.headers
    headers["Server"] = SERVER
    headers["X-Request-ID"] = request_id
    headers["X-Process-Time"] = f"{time.perf_counter() - request[BEGAN]:.6f}"
