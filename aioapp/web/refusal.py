"""Answers of the connection itself, to requests that no handler will ever see."""
import random
from email.utils import formatdate

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from aioapp.errors import AppError, BadRequest, HeadTooLarge
from aioapp.web import wire
from aioapp.web.bounds import LARGEST_LINE
from aioapp.web.endpoint import json_response
from aioapp.web.failures import headers_of


def new_id() -> str:
    """A request's id where its caller gives none: 128 random bits in hexadecimal."""
    return f"{random.getrandbits(128):032x}"


def refused(error: AppError, *, request_id: str | None = None) -> web.Response:
    """The response that tells `error`, after which the connection is closed."""
    request_id = request_id or new_id()
    response = json_response(
        wire.problem(error, request_id=request_id), status=error.status,
        headers={**headers_of(error), "X-Request-ID": request_id, "X-Process-Time": "0.000000"})
    response.force_close()
    return response


def refusal(error: AppError) -> bytes:
    """The same as bytes, where there is no request to answer (RFC 9112 §4)."""
    response = refused(error)
    assert isinstance(response.body, bytes)
    headers = {**response.headers, "Content-Length": str(len(response.body)), "Connection": "close",
               "Date": formatdate(usegmt=True)}
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + response.body


def explained(error: BaseException | None) -> AppError:
    """Why the parser refused a request."""
    if isinstance(error, LineTooLong):
        return HeadTooLarge(f"A header, or the request's first line, is longer than {LARGEST_LINE} bytes.")
    return BadRequest("This is not HTTP/1.1 (RFC 9112).")
