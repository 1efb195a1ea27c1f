"""What is no generation is passed on to Claude as it came, and its answer too."""
import asyncio

from aiohttp import web

from aioapp.errors import NotInitialized, Said, UpstreamTimeout
from aioapp.web.context import SERVICES
from aioapp.web.operations.relay import going_on


async def ask(request: web.Request, target: str, *, body: bytes | None = None) -> Said:
    """What Claude says to a GET of `target`, or a POST where there is a body, in the time that a generation has."""
    services = request.app[SERVICES]
    if services.passing is None:
        raise NotInitialized("This server does not ask Claude itself.")
    try:
        async with asyncio.timeout(services.total_timeout):
            return await services.passing.ask(
                "GET" if body is None else "POST", target, headers=going_on(request.headers), body=body or b"")
    except TimeoutError:
        raise UpstreamTimeout() from None


def answer(said: Said) -> web.Response:
    return web.Response(status=said.status, headers=said.headers, body=said.body)


def with_query(request: web.Request, path: str) -> str:
    """`path` with the request's own query, as it came."""
    query = request.rel_url.raw_query_string
    return f"{path}?{query}" if query else path
