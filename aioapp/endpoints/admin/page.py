"""The page for administrators, and how one signs in: a key begins a session, whose cookie no script can read."""
import asyncio
import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from urllib.parse import parse_qs

from aiohttp import web

from aioapp import errors
from aioapp.keys.key import SESSION_LIFETIME
from aioapp.web.access.policy import COOKIE, administrator, cookie, is_foreign
from aioapp.web.proxies import reached_at
from aioapp.web.context import SERVICES
from aioapp.web.endpoint import Endpoint
from aioapp.web.error_responses import as_app_error, headers_of
from aioapp.web.pages import PAGES, html, parts_of, scripts_in

FOLDER = PAGES / "admin"
FORM = "application/x-www-form-urlencoded"
LARGEST_FORM = 4096
"""Bytes: of a megabyte, which anybody may send, the event loop would make fields for a tenth of a second."""
MOST_FIELDS = 16
PRIVATE = {"Referrer-Policy": "same-origin", "Cache-Control": "no-store"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
LOGIN_POLICY = (
    "default-src 'none'; style-src 'sha256-{style}'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'")
ELSEWHERE = ("This was sent by a page from elsewhere than {}. If you did sign in here, a proxy before this server "
             "changes its address: it must pass on Host, and say with X-Forwarded-Proto that it ends TLS.")
STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


async def page(request: web.Request) -> web.Response:
    """The page, or the login where no admin key is shown: its status says so to programs."""
    try:
        await administrator(request)
    except errors.AppError as error:
        return login(request, error, told=COOKIE in request.cookies)
    return html((FOLDER / "admin.html").read_text(), policy=POLICY, headers=PRIVATE)


async def sign_in(request: web.Request) -> web.Response:
    """Begin a session of the key that the form holds, and give it to the browser. Nothing that it sent is kept."""
    key, services = await sent(request), request.app[SERVICES]
    try:
        address = reached_at(request)
        if is_foreign(request):
            raise errors.Unauthorized(ELSEWHERE.format(address.origin()))
        if key is None:
            raise errors.Unauthorized("Sign in here, with your key.")
        caller = services.authenticator.administrator(key)
        token = await services.keys.begin_session(caller, at=datetime.now(UTC))
    except errors.AppError as error:
        return login(request, error)
    response = to_page()
    response.set_cookie(COOKIE, token, path="/admin", httponly=True, samesite="Strict",
                        max_age=int(SESSION_LIFETIME.total_seconds()), secure=address.scheme == "https")
    return response


async def signed_in(request: web.Request) -> web.Response:
    """Whoever looks where the form was sent to, as by Enter in the address bar after a wrong key, meant the page."""
    try:
        await administrator(request)
    except errors.AppError as error:
        return login(request, error, told=COOKIE in request.cookies)
    return to_page()


async def sent(request: web.Request) -> str | None:
    """The key in the form. aiohttp's own reading of forms raises anything, and keeps files that anybody sends."""
    if request.content_type != FORM:
        return None
    try:
        async with asyncio.timeout(request.app[SERVICES].introduction):
            form = await request.clone(client_max_size=LARGEST_FORM).read()
        fields = parse_qs(form.decode(), max_num_fields=MOST_FIELDS)
    except (web.RequestPayloadError, web.HTTPRequestEntityTooLarge, TimeoutError, ValueError):
        return None
    return fields["key"][0].strip() if "key" in fields else None


async def sign_out(request: web.Request) -> web.Response:
    """End the session and take the cookie back, unless it is a page from elsewhere that asks for it.

    Where the database cannot be used, the browser keeps the cookie: with it gone, nobody could end the session.
    """
    try:
        await administrator(request)
        if (token := cookie(request)) is not None:
            await request.app[SERVICES].keys.end_session(token)
    except errors.StoreUnavailable as error:
        return login(request, error)
    except errors.AppError as error:
        response = login(request, error)
    else:
        response = to_page()
    if not is_foreign(request):
        response.del_cookie(COOKIE, path="/admin", httponly=True, samesite="Strict")
    return response


def to_page() -> web.Response:
    return web.Response(status=303, headers={"Location": "/admin", "Cache-Control": "no-store"})


def login(request: web.Request, error: errors.AppError, *, told: bool = True) -> web.Response:
    """The form that asks for a key; `told` is whether it says why."""
    failure = as_app_error(error, request)
    text = (FOLDER / "login.html").read_text()
    [style] = STYLE.findall(text)
    if told or not isinstance(failure, errors.Unauthorized):
        text = text.replace("<!-- message -->", f'<p role="alert">{escape(failure.detail or failure.title)}</p>')
    policy = LOGIN_POLICY.format(style=b64encode(sha256(style.encode()).digest()).decode())
    response = html(text, policy=policy, headers=PRIVATE)
    response.set_status(failure.status)
    response.headers.update(headers_of(failure))
    return response


PAGE = (
    Endpoint(name="adminPage", path="/admin", handler=page, summary="The page for administrators", access="custom",
             documented=False),
    Endpoint(name="signIn", method="POST", path="/admin/session", handler=sign_in, summary="Sign in to it",
             access="custom", documented=False),
    Endpoint(name="signedIn", path="/admin/session", handler=signed_in, summary="To the page", access="custom",
             documented=False),
    Endpoint(name="signOut", method="POST", path="/admin/session/end", handler=sign_out, summary="Sign out of it",
             access="custom", documented=False),
    Endpoint(name="adminAsset", path="/admin/assets/{name}", handler=parts_of(FOLDER, scripts_in(FOLDER)),
             summary="Parts of it", access="admin",
             documented=False),
)
