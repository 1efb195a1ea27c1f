"""No answer tells which versions of what it comes from, whoever makes it: a handler, aiohttp, or the connection."""
import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from yarl import URL

from aioapp import set_access
from aioapp.app import create_app
from aioapp.settings import Settings
from tests.conftest import Serve, start
from tests.keyed import make_key
from tests.test_hostile import raw

END = b"Host: localhost\r\nConnection: close\r\n\r\n"
HANDSHAKE = (b"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
ASK = (b"POST %s HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 16\r\n" + END + b'{"prompt": "Hi"}')
LONG = b"x" * 9_000
ANSWERS: dict[bytes, tuple[bytes, int]] = {
    b"an answer": (ASK % b"/api/generate", 200),
    b"a stream": (ASK % b"/api/stream", 200),
    b"a refusal of the relay": (ASK % b"/v1/messages", 400),
    b"a page": (b"GET /docs HTTP/1.1\r\n" + END, 200),
    b"HEAD": (b"HEAD / HTTP/1.1\r\n" + END, 200),
    b"no such path": (b"GET /nonesuch HTTP/1.1\r\n" + END, 404),
    b"no such method": (b"DELETE / HTTP/1.1\r\n" + END, 405),
    b"a preflight": (b"OPTIONS /api/generate HTTP/1.1\r\nOrigin: https://a.example\r\n"
                     b"Access-Control-Request-Method: POST\r\n" + END, 200),
    b"an expectation": (b"GET /nonesuch HTTP/1.1\r\nExpect: the unexpected\r\n" + END, 417),
    b"another version": (b"GET / HTTP/2.0\r\n" + END, 505),
    b"no HTTP": (b"nonsense\r\n\r\n", 400),
    b"a long line": (b"GET / HTTP/1.1\r\nX-Long: " + LONG + b"\r\n" + END, 431),
    b"a large head": (
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, LONG[:4000]) for n in range(20)) + END, 431),
}


def servers(answer: bytes) -> list[bytes]:
    """The values of all `Server` headers of one answer."""
    lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return [line.partition(b": ")[2] for line in lines if line.lower().startswith(b"server:")]


@pytest.mark.parametrize("name", ANSWERS, ids=bytes.decode)
async def test_the_server_header_is_a_name_and_nothing_else(serve: Serve, name: bytes) -> None:
    asked, status = ANSWERS[name]
    answer = await raw(await serve(), asked)
    assert (answer[9:12], servers(answer)) == (b"%d" % status, [b"aioapp"])


async def test_the_handshake_of_a_socket_names_no_version_either(serve: Serve) -> None:
    where = URL(await serve())
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(b"GET /ws/generate HTTP/1.1\r\n" + HANDSHAKE)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert (answer[9:12], servers(answer)) == (b"101", [b"aioapp"])
    writer.transport.abort()


async def test_a_connection_that_is_one_too_many_is_refused_under_the_same_name(serve: Serve) -> None:
    make_key()
    url = await serve(max_connections=1)
    where = URL(url)
    _, first = await asyncio.open_connection(where.host, where.port)
    await asyncio.sleep(0.05)
    answer = await raw(url, b"")
    assert (answer[9:12], servers(answer)) == (b"503", [b"aioapp"])
    first.transport.abort()


async def test_a_head_that_takes_too_long_is_refused_under_the_same_name(serve: Serve) -> None:
    answer = await raw(await serve(head_timeout=0.2), b"GET / HTTP/1.1\r\n")
    assert (answer[9:12], servers(answer)) == (b"408", [b"aioapp"])


async def test_handlers_of_your_own_are_served_under_the_same_name(stack: AsyncExitStack) -> None:
    async def own(request: web.Request) -> web.Response:
        return web.Response(text="mine")

    async def broken(request: web.Request) -> web.Response:
        raise LookupError("a fault")

    app = create_app(Settings(simulate=True))
    for route in app.router.add_routes([web.get("/own", own), web.get("/broken", broken)]):
        set_access(app, route, access="open")
    url = await start(app, stack)
    for path, status in ((b"/own", b"200"), (b"/broken", b"500")):
        answer = await raw(url, b"GET " + path + b" HTTP/1.1\r\n" + END)
        assert (answer[9:12], servers(answer)) == (status, [b"aioapp"])
