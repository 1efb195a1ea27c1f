"""What Prometheus reads."""
import asyncio

from aiohttp import web

from aioapp.telemetry.metrics import CONTENT_TYPE
from aioapp.web.context import SERVICES
from aioapp.web.endpoint import Endpoint


async def metrics(request: web.Request) -> web.Response:
    # With several workers their files are read, which is not for the event loop.
    text = await asyncio.to_thread(request.app[SERVICES].metrics.render)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})


METRICS = Endpoint(
    name="metrics", path="/metrics", handler=metrics, summary="Figures for Prometheus", access="local_or_admin",
    description="For programs of this machine, by a name of loopback and through no proxy, and for admin keys.",
    answers={200: {CONTENT_TYPE.partition(";")[0]: {"type": "string"}}},
    sample="# TYPE aioapp_requests_total counter")
