"""The generations and refusals that are kept one by one, for administrators to look for."""
import asyncio
from typing import get_args

from aiohttp import web
from marshmallow import Schema, fields, validate

from aioapp import errors
from aioapp.generation import Outcome, Transport
from aioapp.usage.usage_store import CURSOR, Wanted
from aioapp.web import answers
from aioapp.web.context import SERVICES
from aioapp.web.csv_response import CSV, csv_response
from aioapp.web.endpoint import Endpoint, json_response, read_query
from aioapp.web.fields import choice, counted, day, shaped, text
from aioapp.web.schemas import SAMPLE, Body, UsageAnswer

MOST = 500
OUTCOMES = (*get_args(Outcome), "refused")
JSON = "application/json"


class RequestsQuery(Body):
    limit = counted(1, MOST, load_default=50)
    cursor = shaped(CURSOR, said="value_error.const|what a page said was its next one",
                    description="The `next` of the page before.")
    key = text(least=1, most=64, description="Only requests of this key; `anonymous` for those without.")
    model = text(least=1, most=256)
    outcome = choice(OUTCOMES, description="`refused` are those that the key's own terms refused.")
    status = counted(100, 599, description="HTTP's; of a frame on a WebSocket as well.")
    error = text(least=1, most=256, description="The title of an error, or the reason of a refusal.")
    request_id = text(least=1, most=256)
    since = day(description="The first day, in UTC.")
    until = day(description="The last day, in UTC.")
    format = choice(("json", "csv"), load_default="json")


class RequestAnswer(UsageAnswer):
    at = fields.DateTime(required=True, metadata={"description": "When it ended."})
    request_id = fields.String(required=True)
    key = fields.String(required=True, allow_none=True)
    model = fields.String(required=True, metadata={"description": "Empty where it was refused before it was known."})
    outcome = fields.String(required=True, validate=validate.OneOf(OUTCOMES))
    error = fields.String(required=True, allow_none=True)
    status = fields.Integer(required=True, allow_none=True, metadata={"description": "null for those of old."})
    transport = fields.String(required=True, allow_none=True, validate=validate.OneOf((*get_args(Transport), None)))
    stop_reason = fields.String(required=True, allow_none=True)
    cost_usd = fields.Float(required=True)
    first_seconds = fields.Float(required=True, allow_none=True, metadata={"description": "To the first piece."})
    seconds = fields.Float(required=True)
    prompt = fields.String(metadata={"description": "The last turn; only where the server is set to keep prompts."})


class RequestsAnswer(Schema):
    requests = fields.List(fields.Nested(RequestAnswer), required=True, metadata={"description": "The latest first."})
    next = fields.String(required=True, allow_none=True, metadata={"description": "The cursor of the next page."})
    timestamp = fields.DateTime(required=True)


async def found(request: web.Request) -> web.Response:
    asked, services = read_query(request, REQUESTS_QUERY), request.app[SERVICES]
    await services.ledger.flush()
    wanted = Wanted(**{name: asked.get(name) for name in Wanted.__slots__})
    page = await services.usage.requests(wanted, limit=asked["limit"], cursor=asked.get("cursor"))
    if asked["format"] == "csv":
        return await asyncio.to_thread(csv_response, page.requests, columns=COLUMNS, name="requests.csv")
    return json_response({"requests": page.requests, "next": page.next, "timestamp": answers.now()})


REQUESTS_QUERY = RequestsQuery()
REQUEST = {
    "at": SAMPLE["timestamp"], "request_id": SAMPLE["request_id"], "key": "web", "model": "claude-sonnet-5-5",
    "outcome": "completed", "error": None, "status": 200, "transport": "rest", "stop_reason": "end_turn",
    "input_tokens": 12, "output_tokens": 30, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
    "cost_usd": 0.000324, "first_seconds": 0.412, "seconds": 0.75}
COLUMNS = tuple(REQUEST)

REQUESTS = Endpoint(
    name="latestRequests", path="/admin/requests", handler=found, summary="The latest generations and refusals",
    tag="Administration", access="admin", query=RequestsQuery, errors=(errors.ValidationFailed,),
    answers={200: {JSON: RequestsAnswer, CSV: {"type": "string", "examples": [
        "at,request_id\r\n2026-11-23T12:00:00.000+00:00,r1\r\n"]}}},
    sample={"requests": [REQUEST], "next": None, "timestamp": SAMPLE["timestamp"]})
