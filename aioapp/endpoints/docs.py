"""Swagger UI, ReDoc and the document that they show. All of it comes from this server and works without internet."""
from collections.abc import Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiohttp import web

from aioapp.web.proxies import reached_at
from aioapp.web.endpoint import Endpoint, Handler, json_response
from aioapp.web.operations.operation import Operation
from aioapp.web.pages import PAGES, html, parts_of, scripts_in

FOLDER = PAGES / "docs"
OURS = parts_of(FOLDER, scripts_in(FOLDER))
LIBRARIES = ("swagger_bundle.js", "swagger_style.css", "redoc.js")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; frame-ancestors 'none'"
)


def pages(served: Sequence[Endpoint], operations: Sequence[Operation]) -> tuple[Endpoint, ...]:
    """The pages that document `served`, and what they need."""
    return (
        part(name="docs", path="/docs", handler=page("swagger.html"), summary="Swagger UI"),
        part(name="redoc", path="/redoc", handler=page("redoc.html"), summary="ReDoc"),
        part(name="docsAsset", path="/docs/assets/{name}", handler=asset, summary="Parts of the pages"),
        part(name="openapi", path="/openapi.json", handler=openapi(served, operations), summary="OpenAPI document"),
    )


part = partial(Endpoint, access="open", documented=False)


def page(name: str) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return html((FOLDER / name).read_text(), policy=POLICY, headers={"Referrer-Policy": "no-referrer"})

    return handle


async def asset(request: web.Request) -> web.StreamResponse:
    if request.match_info["name"] not in LIBRARIES:
        return await OURS(request)
    # The pages hold these files' hashes, so a stale copy is refused by the browser, never run.
    return await parts_of(library_folder(), LIBRARIES, headers={"Cache-Control": "public, max-age=86400"})(request)


def library_folder() -> Path:
    """Where `offapi` lies. It is found, not imported: importing it reads all its files into memory."""
    spec = find_spec("offapi")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def openapi(served: Sequence[Endpoint], operations: Sequence[Operation]) -> Handler:
    """The document is made when it is first asked for: apispec takes longer to load than the rest to start."""
    @cache
    def made() -> dict[str, Any]:
        from aioapp.web.openapi.document import document
        return document(served, operations)

    async def handle(request: web.Request) -> web.Response:
        # An absolute URL, because the pages resolve a relative one against where the document lies, each in its way.
        return json_response({**made(), "servers": [{"url": str(reached_at(request).origin())}]})

    return handle
