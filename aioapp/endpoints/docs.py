"""Swagger UI, ReDoc and the document that they show. All of it comes from this server and works without internet."""
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from aioapp.web import wire
from aioapp.web.endpoint import Endpoint, Handler

PAGES = Path(__file__).parent.parent / "pages"
OURS = ("swagger.js", "redoc-init.js")
LIBRARIES = ("swagger_bundle.js", "swagger_style.css", "redoc.js")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; frame-ancestors 'none'"
)


def pages(served: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The pages that document `served`, and what they need."""
    return (
        undocumented("docs", "/docs", page("swagger.html"), "Swagger UI"),
        undocumented("redoc", "/redoc", page("redoc.html"), "ReDoc"),
        undocumented("docsAsset", "/docs/assets/{name}", asset, "What the pages are made of"),
        undocumented("openapi", "/openapi.json", openapi(served), "OpenAPI document"),
    )


def undocumented(name: str, path: str, handler: Handler, summary: str) -> Endpoint:
    return Endpoint(name=name, path=path, handler=handler, summary=summary, documented=False)


def page(name: str) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=(PAGES / name).read_text(), content_type="text/html", headers={
            "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"})

    return handle


async def asset(request: web.Request) -> web.FileResponse:
    name = request.match_info["name"]
    if name in OURS:
        return web.FileResponse(PAGES / name, headers={"Cache-Control": "no-cache"})
    if name in LIBRARIES:
        # The pages hold these files' hashes, so a stale copy is refused by the browser, never run.
        return web.FileResponse(library_folder() / name, headers={"Cache-Control": "public, max-age=86400"})
    raise web.HTTPNotFound()


def library_folder() -> Path:
    """Where `offapi` lies. It is found, not imported: importing it reads all its files into memory."""
    spec = find_spec("offapi")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def openapi(served: Sequence[Endpoint]) -> Handler:
    """The document is made when it is first asked for: apispec takes longer to load than the rest to start."""
    made: list[bytes] = []

    async def handle(request: web.Request) -> web.Response:
        if not made:
            from aioapp.web.openapi import document
            made.append(wire.encode(document(served)))
        return web.Response(body=made[0], content_type="application/json")

    return handle
