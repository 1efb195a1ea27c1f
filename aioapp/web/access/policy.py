"""Admits requests: closed by default, open by name. Each endpoint says whom it is for; a route that says nothing, such
as one of your own program, is for callers.
"""
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from warnings import warn

from aiohttp import hdrs, web

from aioapp.callers import Caller
from aioapp.errors import BadRequest, Forbidden
from aioapp.generation import Admission
from aioapp.keys.authenticator import Peer
from aioapp.services import Services
from aioapp.web.context import ADMISSION, ALLOWANCE, CALLER, REQUEST_ID, SERVICES, TURNED_AWAY
from aioapp.web.endpoint import Access, Endpoint, Handler
from aioapp.web.error_responses import SHAPES, STREAMED
from aioapp.web.peer import is_loopback, network_of
from aioapp.web.proxies import reached_at, remote_of

ACCESS = web.AppKey("access", dict[tuple[web.AbstractResource, str], Access])
"""Whom each method of each resource is for. What is not in it is for callers."""
PREFLIGHTED = web.AppKey("preflighted", frozenset[web.AbstractResource])
"""The resources whose preflights are answered for us, by aiohttp-cors."""
FORMER: Mapping[str, Access] = {
    "known": "authenticated", "caller": "metered", "machine": "local_or_admin", "itself": "custom"}
"""The names that kinds of access had; they go with the next release."""
COOKIE = "aioapp_admin"
EVENT_STREAM = "text/event-stream"
LONGEST_NAME = 300
"""Characters of an origin or a host in the log; the longest name has 253."""
LOOPBACK = re.compile(
    r"((([a-z0-9-]+\.)*localhost)|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
"""Names that no other machine can have (RFC 6761 §6.3), and perhaps a port."""
FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
"""What a proxy adds: the caller may be anywhere then."""


def serve(app: web.Application, endpoints: Iterable[Endpoint]) -> None:
    """Add the endpoints' routes, each for whom it says."""
    app[ACCESS], app[SHAPES], app[STREAMED] = {}, {}, set()
    for endpoint in endpoints:
        for route in app.router.add_routes([endpoint.route]):
            set_access(app, route, access=endpoint.access)
            if route.resource is not None:
                app[SHAPES][route.resource] = endpoint.shape
                if list(endpoint.answers.get(200, ())) == [EVENT_STREAM]:
                    app[STREAMED].add(route.resource)
    app[PREFLIGHTED] = frozenset(resource for resource, _ in app[ACCESS])


def set_access(app: web.Application, route: web.AbstractRoute, *, access: Access) -> None:
    """Say whom a route is for: `"open"` is for everybody, `"admin"` for admin keys. Else it is for callers with a key.

    It goes by the route's own resource, not by its path: another application's may read the same.
    """
    assert route.resource is not None
    if access in FORMER:
        warn(f"access={access!r} is {FORMER[access]!r} now", DeprecationWarning, stacklevel=2)
    app[ACCESS][route.resource, route.method] = FORMER.get(access, access)


@web.middleware
async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the request pass as its route says, and note who asks."""
    app = request.app
    services, access = app[SERVICES], wanted(request, app)
    request[ALLOWANCE] = services.allowance
    rebinding_refused(request, services)
    if hdrs.ORIGIN in request.headers:
        note_origin(request, services)
    if access in ("open", "custom") or is_preflight(request):
        return await handler(request)
    keyring = services.authenticator.keyring
    if access == "socket" and shown(request) is None and is_handshake(request) and keyring.guarded:
        return await handler(request)  # a browser's WebSocket shows its key in its first frame
    if access == "admin":
        request[CALLER] = await administrator(request)
    elif access == "local_or_admin":
        if not is_local(request) or is_foreign(request):
            request[CALLER] = services.authenticator.administrator(shown(request))
    else:
        caller = services.authenticator.authenticate(shown(request), peer=partial(peer_of, request))
        request[CALLER] = caller
        if access == "metered":
            counted = await services.allowance.admit(caller)
            request[ADMISSION] = Admission(caller=caller, request_id=request[REQUEST_ID], counted=counted)
    response = await handler(request)
    if access == "admin" and not response.prepared:
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")  # caches do not see that a cookie let it in
    return response


def wanted(request: web.Request, app: web.Application) -> Access:
    resource = request.match_info.route.resource
    if resource is None:
        return "authenticated"
    method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
    known = app[ACCESS]
    return known.get((resource, request.method)) or known.get((resource, method), "metered")


async def administrator(request: web.Request) -> Caller:
    """The admin key that the request shows, or with which the session in its cookie was begun.

    A session is looked up each time, so that its beginning and its end are known to all workers at once.
    Raises `Unauthorized`, `Forbidden` or `StoreUnavailable`.
    """
    services, key = request.app[SERVICES], shown(request)
    token = cookie(request) if key is None else None
    if token is None or not services.authenticator.keyring.guarded:
        return services.authenticator.administrator(key)
    opener = await services.keys.session_opener(token, at=datetime.now(UTC))
    return services.authenticator.administrator(None, opener=opener)


def introduced(request: web.Request, key: str) -> Caller:
    """Who shows `key` in a frame. Where there are no keys, none is looked at. Raises `Unauthorized`."""
    return request.app[SERVICES].authenticator.authenticate(key, peer=partial(peer_of, request))


def peer_of(request: web.Request) -> Peer:
    return network_of(remote_of(request)), is_local(request)


def shown(request: web.Request) -> str | None:
    """The key that the request shows, in whichever of the two headers. An empty one is none: some clients send both."""
    if key := request.headers.get("X-API-Key"):
        return key
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def cookie(request: web.Request) -> str | None:
    """The session in the cookie of the page for administrators; never for a page from elsewhere."""
    return None if is_foreign(request) else request.cookies.get(COOKIE)


def is_foreign(request: web.Request) -> bool:
    """Whether a page of another origin asks (RFC 6454 §5): of another scheme, host or port, or of none, called `null`.

    To a cookie, another port of the same host is no other site, and to some browsers neither is another scheme.
    Raises `BadRequest` where the Host header names no host.
    """
    origins = set(request.headers.getall(hdrs.ORIGIN, ()))
    return bool(origins) and origins != {str(reached_at(request).origin())}


def note_origin(request: web.Request, services: Services) -> None:
    """Note for the log which page's origin is not allowed: its browser keeps the answer from it, and does not say."""
    origins = request.headers.getall(hdrs.ORIGIN)
    try:
        foreign = is_foreign(request)
    except BadRequest:
        foreign = True
    refused = [origin for origin in origins if not services.allows(origin)]
    if foreign and (refused or (request.cookies.get(COOKIE) and shown(request) is None)):
        request[TURNED_AWAY] = named("origin", (refused or origins)[0])


def named(kind: str, text: str) -> str:
    return f"{kind} {text[:LONGEST_NAME]}"


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks if a page may ask; without a key, but aiohttp-cors answers, and nothing of ours is run."""
    return (request.method == hdrs.METH_OPTIONS and hdrs.ORIGIN in request.headers
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
            and request.match_info.route.resource in request.app[PREFLIGHTED])


def is_handshake(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


def rebinding_refused(request: web.Request, services: Services) -> None:
    """Without keys, a page that had its own name point at loopback would be this machine's own program to us."""
    authenticator = services.authenticator
    if authenticator.open or not authenticator.keyless:
        return
    if arrived_locally(request) and not LOOPBACK.fullmatch(request.host):
        request[TURNED_AWAY] = named("host", request.headers.get(hdrs.HOST, ""))
        raise Forbidden("This server has no keys, so it answers only to names of loopback, such as localhost. Create a "
                        "key with `aioapp keys create`, or start the server with --allow-anonymous.")


def is_local(request: web.Request) -> bool:
    """Whether a program of this machine asks, by a name of loopback and through no proxy."""
    return (arrived_locally(request) and LOOPBACK.fullmatch(request.host) is not None
            and not any(name in request.headers for name in FORWARDED))


def arrived_locally(request: web.Request) -> bool:
    """Whether the connection came in where only this machine can connect."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return isinstance(name, tuple) and is_loopback(name[0])
