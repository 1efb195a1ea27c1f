"""What each route answers."""
import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from aioapp.simulator.answers import generate
from aioapp.simulator.checks import read
from aioapp.simulator.errors import ApiError
from aioapp.simulator.messages import estimate, events_of, message_of
from aioapp.simulator.models import MODELS, Model, describe, find_listed
from aioapp.simulator.reserved import OVERLOADED, spoil
from aioapp.simulator.shapes import COUNTED, CREATED
from aioapp.simulator.wire import as_json, send_events, send_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds: before the first token, per token, and before the first byte of `simulate-slow`."""

    first: float
    token: float
    slow: float


TIMING = web.AppKey("timing", Timing)


async def greet(request: web.Request) -> web.Response:
    """GET and HEAD /, with which clients try whether anybody is there."""
    return web.Response(text="The Messages API, simulated.\n")


async def create_message(request: web.Request) -> web.StreamResponse:
    """POST /v1/messages"""
    body, model = await read(request, CREATED)
    message, timing = message_of(generate(body, model), body=body, model=model), request.app[TIMING]
    cut = model.id == "simulate-cut"
    await asyncio.sleep(timing.slow if model.id == "simulate-slow" else timing.first)
    if body.get("stream"):
        events = spoil(model.id, [*events_of(message)])
        return await send_events(request, events, token=timing.token, cut=cut)
    if model.id == "simulate-error":
        raise ApiError(*OVERLOADED)
    await asyncio.sleep(timing.token * message["usage"]["output_tokens"])
    return await send_whole(request, message, cut=cut)


async def count_tokens(request: web.Request) -> web.Response:
    """POST /v1/messages/count_tokens"""
    body, _ = await read(request, COUNTED)
    return as_json({"input_tokens": estimate(body)})


async def show_model(request: web.Request) -> web.Response:
    """GET /v1/models/{id}"""
    return as_json(describe(find_listed(request.match_info["id"])))


async def list_models(request: web.Request) -> web.Response:
    """GET /v1/models: retired ones only when the caller asks for them."""
    query = request.query
    stages = query.getall("lifecycle[]", ["active", "deprecated"])
    models = [model for model in MODELS.values() if model.lifecycle in stages]
    start = place(models, query["after_id"]) + 1 if "after_id" in query else 0
    end = place(models, query["before_id"]) if "before_id" in query else None
    limit, found = page_limit(query.get("limit", "20")), models[start:end]
    page = found[:limit] if end is None else found[-limit:]
    return as_json({
        "data": [describe(model) for model in page], "has_more": len(found) > limit,
        "first_id": page[0].id if page else None, "last_id": page[-1].id if page else None,
    })


def place(models: Sequence[Model], name: str) -> int:
    for index, model in enumerate(models):
        if model.id == name:
            return index
    raise ApiError(400, f"Invalid cursor: {name}")


def page_limit(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= 1000:
        raise ApiError(400, "limit: Input should be a valid integer from 1 to 1000")
    return int(text)
