"""Which origins' pages may call, as browsers ask it (https://fetch.spec.whatwg.org/#http-cors-protocol).

aiohttp-cors answers preflights and marks what routed requests answer; it leaves unrouted ones (404, 405) and
`Vary: Origin` to us.
"""
from collections.abc import Awaitable, Callable, Sequence

import aiohttp_cors
from aiohttp import hdrs, web

EXPOSED = ("X-Request-ID", "X-Process-Time", "Retry-After", "RateLimit", "RateLimit-Policy", "Request-ID",
           "X-Should-Retry")
Marker = Callable[[web.Request, web.StreamResponse], Awaitable[None]]
MAX_AGE = 600
"""Seconds that a browser may remember a preflight's answer."""


def allow_origins(app: web.Application, origins: Sequence[str], *, credentials: bool) -> None:
    """Let pages of `origins` call every route that the application has by now."""
    options = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]  # the package has no hints
        allow_credentials=credentials, expose_headers=EXPOSED, allow_headers="*", max_age=MAX_AGE)
    before = len(app.on_response_prepare)
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, options))
    [theirs] = app.on_response_prepare[before:]
    app.on_response_prepare[before:] = [for_pages(theirs)]
    for resource in list(app.router.resources()):
        cors.add(resource)
        for route in list(resource):
            if route.method not in (hdrs.METH_OPTIONS, hdrs.METH_HEAD):
                cors.add(route)
    app.on_response_prepare.append(marker(frozenset(origins), credentials=credentials))


def for_pages(mark: Callable[[web.Request, web.StreamResponse], Awaitable[object]]) -> Marker:
    """`mark` for the requests of pages alone: it looks up what holds for a route before it sees that no page asks."""
    async def mark_if_asked(request: web.Request, response: web.StreamResponse) -> None:
        if hdrs.ORIGIN in request.headers:
            await mark(request, response)

    return mark_if_asked


def marker(origins: frozenset[str], *, credentials: bool) -> Marker:
    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        headers, origin = response.headers, request.headers.get(hdrs.ORIGIN)
        headers.add(hdrs.VARY, hdrs.ORIGIN)
        if origin is None or hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in headers or request.method == hdrs.METH_OPTIONS:
            return
        if "*" in origins or origin in origins:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ",".join(EXPOSED)
            if credentials:
                headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"

    return mark
