"""What clients of Anthropic's API ask beside Claude: whether somebody is there, and for what is not served."""
from collections.abc import Callable
from functools import partial
from typing import Literal

from aiohttp import hdrs, web

from aioapp.errors import NotFound
from aioapp.web.endpoint import Endpoint
from aioapp.web.error_responses import SHAPES

METHODS: tuple[Literal["GET", "POST", "PUT", "PATCH", "DELETE"], ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_YET = ("Batches and files are not served: all keys of this server share one account of Claude's, and nobody knows "
           "which of them a batch or a file belongs to.")


async def hello(request: web.Request) -> web.Response:
    """Clients warm a connection with it; older ones with `HEAD /`."""
    return web.Response()


async def unknown(request: web.Request) -> web.Response:
    """Says what is not there, or not by this method, in the shape that clients of this API read."""
    own, allowed = request.match_info.route.resource, set[str]()
    for resource, shape in request.app[SHAPES].items():
        if shape == "anthropic" and resource is not own:
            allowed |= (await resource.resolve(request))[1]
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, sorted(allowed - {hdrs.METH_OPTIONS}))
    tail = request.match_info["tail"]
    raise NotFound(NOT_YET if tail.startswith(("messages/batches", "files")) else f"There is no /v1/{tail[:100]} here.")


part: Callable[..., Endpoint] = partial(Endpoint, documented=False, access="open", shape="anthropic")

OTHERS = (
    part(name="warmHello", method="HEAD", path="/api/hello", handler=hello, summary="Whether somebody is there"),
    *(part(name=f"unknown{method}", method=method, path="/v1/{tail:.*}", handler=unknown,
           summary="What is not served", access="authenticated") for method in METHODS),
)
