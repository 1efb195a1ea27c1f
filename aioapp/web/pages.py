"""Pages of ours, and the files that they are made of: all from this server, so that they work without internet."""
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from aiohttp import hdrs, web

from aioapp.web.endpoint import Handler

PAGES = Path(__file__).parent.parent / "pages"
TYPES = {".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
PIECE = 2**15
STILL = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'")
"""The Content-Security-Policy of a page that runs nothing."""
NO_CACHE = {"Cache-Control": "no-cache"}


def html(text: str, *, policy: str, headers: Mapping[str, str]) -> web.Response:
    """A page, with its Content-Security-Policy (https://www.w3.org/TR/CSP3/)."""
    return web.Response(text=text, content_type="text/html", headers={
        "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", **headers})


def parts_of(folder: Path, names: Collection[str], *, headers: Mapping[str, str] = NO_CACHE) -> Handler:
    """Sends those of the `names` that are asked for as `name`; any other is 404."""
    async def part(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in names:
            raise web.HTTPNotFound()
        return await send_file(request, folder / name, headers=headers)

    return part


def scripts_in(folder: Path) -> frozenset[str]:
    """The names of the scripts, styles and pictures in it."""
    return frozenset(path.name for path in folder.iterdir() if path.suffix in TYPES)


async def send_file(request: web.Request, path: Path, *, headers: Mapping[str, str]) -> web.StreamResponse:
    """The file, or 304 for a caller who has it (RFC 9110 §13.1.2). Raises `OSError` where it cannot be read.

    It is sent piece by piece, each as the caller takes it: aiohttp's `FileResponse` has the kernel send it, and nobody
    could see that a caller does not take it.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        response = web.StreamResponse(headers={**headers, "X-Content-Type-Options": "nosniff"})
        response.etag = tag = f"{found.st_mtime_ns:x}-{found.st_size:x}"
        response.last_modified = found.st_mtime
        if any(known.value in (tag, "*") for known in request.if_none_match or ()):
            response.set_status(304)
            await response.prepare(request)
            return response
        response.content_type = TYPES[path.suffix]
        response.content_length = found.st_size
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            while piece := file.read(PIECE):
                await response.write(piece)
                await request.writer.drain()  # aiohttp itself would, after more of them
        await response.write_eof()
        return response
