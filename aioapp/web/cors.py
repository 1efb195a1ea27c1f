"""Which origins' pages may call, as browsers ask it (https://fetch.spec.whatwg.org/#http-cors-protocol).

aiohttp-cors answers preflights and marks what routed requests answer; it leaves unrouted ones (404, 405) and
`Vary: Origin` to us.
"""
from collections.abc import Awaitable, Callable, Sequence

import aiohttp_cors
from aiohttp import hdrs, web

EXPOSED = ("X-Request-ID", "X-Process-Time", "Retry-After", "RateLimit", "RateLimit-Policy")
Marker = Callable[[web.Request, web.StreamResponse], Awaitable[object]]
MAX_AGE = 600
"""Seconds that a browser may remember a preflight's answer."""


def allow_origins(app: web.Application, origins: Sequence[str], *, credentials: bool) -> None:
    """Let pages of `origins` call every route that the application has by now."""
    options = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]  # the package has no hints
        allow_credentials=credentials, expose_headers=EXPOSED, allow_headers="*", max_age=MAX_AGE)
    before = len(app.on_response_prepare)
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, options))
    [theirs] = app.on_response_prepare[before:]
    del app.on_response_prepare[before:]
    for resource in list(app.router.resources()):
        cors.add(resource)
        for route in list(resource):
            if route.method not in (hdrs.METH_OPTIONS, hdrs.METH_HEAD):
                cors.add(route)
    app.on_response_prepare.append(marker(theirs, origins=frozenset(origins), credentials=credentials))


def marker(theirs: Marker, *, origins: frozenset[str], credentials: bool) -> Marker:
    """`theirs` is for the requests of pages alone: it looks up what holds for a route before it sees that none asks."""
    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        headers, origin = response.headers, request.headers.get(hdrs.ORIGIN)
        if origin is not None:
            await theirs(request, response)
        headers.add(hdrs.VARY, hdrs.ORIGIN)
        if origin is None or hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in headers or request.method == hdrs.METH_OPTIONS:
            return
        if "*" in origins or origin in origins:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ",".join(EXPOSED)
            if credentials:
                headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"

    return mark
