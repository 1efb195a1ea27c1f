"""What is no generation is passed on to Claude as it came, and its answer too."""
import asyncio

from aiohttp import web

from aioapp.callers import Caller
from aioapp.errors import Forbidden, NotInitialized, Said, UpstreamTimeout
from aioapp.web.context import SERVICES
from aioapp.web.operations.relay import going_on


async def ask(request: web.Request, target: str, *, body: bytes = b"") -> Said:
    """What Claude says to the request's method on `target`, in the time that a generation would have."""
    services = request.app[SERVICES]
    if services.passing is None:
        raise NotInitialized("This server does not ask Claude itself.")
    try:
        async with asyncio.timeout(services.total_timeout):
            return await services.passing.ask(
                request.method, target, headers=going_on(request.headers), body=body)
    except TimeoutError:
        raise UpstreamTimeout() from None


def answer(said: Said) -> web.Response:
    return web.Response(status=said.status, headers=said.headers, body=said.body)


def check_model(caller: Caller, model: str) -> None:
    """Raises `Forbidden` for a model that the caller may not use."""
    if not caller.may_use(model):
        raise Forbidden(f"Your key may not use the model {model}. It may use: {', '.join(caller.models)}.")
