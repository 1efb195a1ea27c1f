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
from aioapp.simulator.models import MODELS, Model, describe
from aioapp.simulator.reserved import OVERLOADED, find_shown, is_well_formed, spoil
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
    """GET and HEAD / and /api/hello, with which clients try whether anybody is there."""
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
    return as_json(describe(find_shown(request.match_info["id"])))


async def list_models(request: web.Request) -> web.Response:
    """GET /v1/models: retired ones only when the caller asks for them."""
    query = request.query
    stages = query.getall("lifecycle[]", ["active", "deprecated"])
    models = [model for model in MODELS.values() if model.lifecycle in stages]
    after, before = (place(models, query.get(name)) for name in ("after_id", "before_id"))
    limit, found = page_limit(query.get("limit", "20")), models[0 if after is None else after + 1:before]
    page = found[:limit] if before is None else found[-limit:]
    return as_json({
        "data": [describe(model) for model in page], "has_more": len(found) > limit,
        "first_id": page[0].id if page else None, "last_id": page[-1].id if page else None,
    })


def place(models: Sequence[Model], cursor: str | None) -> int | None:
    """Where the model stands that the cursor names; a well-formed name that is not there says nothing.

    The SDK's own tests page from `after_id` to `before_id`. Raises ApiError (400) for any other cursor.
    """
    for index, model in enumerate(models):
        if model.id == cursor:
            return index
    if cursor is None or is_well_formed(cursor):
        return None
    raise ApiError(400, f"Invalid cursor: {cursor}")


def page_limit(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= 1000:
        raise ApiError(400, "limit: Input should be a valid integer from 1 to 1000")
    return int(text)
