"""Sends files piece by piece, each as the caller takes it.

aiohttp's `FileResponse` has the kernel send a file, which nobody can see a caller not take.
"""
import os
from collections.abc import Mapping
from pathlib import Path

from aiohttp import hdrs, web

TYPES = {".css": "text/css", ".js": "text/javascript"}
PIECE = 2**15


async def send_file(request: web.Request, path: Path, *, headers: Mapping[str, str]) -> web.StreamResponse:
    """The file, or 304 for a caller who has it (RFC 9110 §13.1.2). Raises `OSError` where it cannot be read."""
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
