"""Answers of the connection itself, to requests that no handler will ever see."""
import asyncio
import random
from collections.abc import Iterable
from email.utils import formatdate

from aiohttp import WSCloseCode, web
from aiohttp.http_exceptions import LineTooLong

from aioapp.errors import AppError, BadRequest, HeadTooLarge, RequestTooLarge
from aioapp.web import answers
from aioapp.web.endpoint import json_response
from aioapp.web.error_responses import headers_of
from aioapp.web.bounds import LARGEST_HEAD, LARGEST_LINE

SERVER = "aioapp"
"""What answers call us. aiohttp would tell its version and Python's: those help only who looks for old ones."""


def new_id() -> str:
    """A request's id where its caller gives none: 128 random bits in hexadecimal."""
    return f"{random.getrandbits(128):032x}"


def refused(error: AppError, *, request_id: str | None = None) -> web.Response:
    """The response that tells `error`, after which the connection is closed."""
    request_id = request_id or new_id()
    response = json_response(
        answers.problem(error, request_id=request_id), status=error.status,
        headers={**headers_of(error), "Server": SERVER, "X-Request-ID": request_id,
                 "X-Process-Time": "0.000000"})
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


def turn_away(link: asyncio.Transport, error: AppError) -> None:
    """Say why, and that nothing follows."""
    link.write(refusal(error))
    try:
        link.write_eof()
    except (NotImplementedError, OSError):  # TLS has no half of an end, and a caller who has gone none at all
        link.close()


def reason_of(error: BaseException | None) -> AppError:
    """Why the parser refused a request."""
    if isinstance(error, LineTooLong):
        return HeadTooLarge(f"A header, or the request's first line, is longer than {LARGEST_LINE} bytes.")
    return BadRequest("This is not HTTP/1.1 (RFC 9112).")


def farewell(error: AppError) -> bytes:
    """The last frames of a WebSocket whose caller breaks the protocol or asks too much (RFC 6455 §5.5.1, §7.4.1)."""
    code = WSCloseCode.PROTOCOL_ERROR if isinstance(error, BadRequest) else WSCloseCode.POLICY_VIOLATION
    text = answers.encode(answers.problem(error))
    head = bytes([0x81, len(text)]) if len(text) < 126 else b"\x81\x7e" + len(text).to_bytes(2, "big")
    return head + text + b"\x88\x02" + code.to_bytes(2, "big")


def too_large(most: int) -> RequestTooLarge:
    return RequestTooLarge(f"A body has at most {most} bytes with what chunks add to it.")


def head_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"All headers together have at most {LARGEST_HEAD} bytes.")


def size_of(message: object) -> int:
    """Bytes of a request's head, but for what stands between names and values; none of what is no request."""
    headers: Iterable[tuple[bytes, bytes]] = getattr(message, "raw_headers", ())
    return sum(len(name) + len(value) for name, value in headers)
