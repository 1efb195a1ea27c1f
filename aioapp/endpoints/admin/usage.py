"""What everybody used, and the latest requests, for administrators."""
from datetime import UTC, date, datetime, timedelta

from aiohttp import web
from marshmallow import Schema, fields, validate

from aioapp import errors
from aioapp.endpoints.usage import SpentBudgetAnswer, spent
from aioapp.endpoints.usage_schemas import DAY, FIGURES, GUESSED, FiguresAnswer, figures, marked
from aioapp.web import answers
from aioapp.web.context import SERVICES
from aioapp.web.endpoint import Endpoint, json_response, read_query
from aioapp.web.fields import choice, counted, day, text
from aioapp.web.schemas import SAMPLE, Body, UsageAnswer

BY = ("key", "model", "day")
DAYS = 30
EARLIEST = date.min + timedelta(days=DAYS - 1)
"""The last of the first days that there are."""
MOST = 500
JSON = "application/json"


class UsageQuery(Body):
    by = choice(BY, required=True)
    since = day(description="The first day, in UTC; 30 days, today included, without.")
    until = day(description="The last day, in UTC; today without.")


class RowAnswer(FiguresAnswer):
    """It is of a key, a model or a day."""

    key = fields.String(metadata={"description": "`anonymous` are all callers without a key."})
    model = fields.String()
    day = fields.Date()
    guessed = fields.Boolean(metadata={"description": f"Of models only. {GUESSED}"})


class AllUsageAnswer(Schema):
    by = fields.String(required=True, validate=validate.OneOf(BY))
    since = fields.Date(required=True)
    until = fields.Date(required=True)
    budget = fields.Nested(
        SpentBudgetAnswer, required=True, allow_none=True, metadata={"description": "Of all callers together."})
    total = figures()
    rows = fields.List(fields.Nested(RowAnswer), required=True)
    timestamp = fields.DateTime(required=True)


class RequestsQuery(Body):
    limit = counted(1, MOST, load_default=50)
    key = text(least=1, most=64, description="Only requests of this key; `anonymous` for those without.")


class RequestAnswer(UsageAnswer):
    at = fields.DateTime(required=True, metadata={"description": "When it ended."})
    request_id = fields.String(required=True)
    key = fields.String(required=True, allow_none=True)
    model = fields.String(required=True)
    outcome = fields.String(required=True, validate=validate.OneOf(("completed", "cancelled", "failed")))
    error = fields.String(required=True, allow_none=True)
    stop_reason = fields.String(required=True, allow_none=True)
    cost_usd = fields.Float(required=True)
    first_seconds = fields.Float(required=True, allow_none=True, metadata={"description": "To the first piece."})
    seconds = fields.Float(required=True)
    prompt = fields.String(metadata={"description": "The last turn; only where the server is set to keep prompts."})


class RequestsAnswer(Schema):
    requests = fields.List(fields.Nested(RequestAnswer), required=True, metadata={"description": "The latest first."})
    timestamp = fields.DateTime(required=True)


async def usage(request: web.Request) -> web.Response:
    asked, services = read_query(request, USAGE_QUERY), request.app[SERVICES]
    until: date = asked.get("until") or datetime.now(UTC).date()
    since: date = asked.get("since") or max(until, EARLIEST) - timedelta(days=DAYS - 1)
    await services.ledger.flush()
    total, rows = await services.usage.by(asked["by"], since=since, until=until)
    if asked["by"] == "model":
        rows = marked(rows, services.prices)
    return json_response({"by": asked["by"], "since": since.isoformat(), "until": until.isoformat(),
                          "budget": await spent(services.everybody, services.usage, now=datetime.now(UTC)),
                          "total": total, "rows": rows, "timestamp": answers.now()})


async def latest(request: web.Request) -> web.Response:
    asked, services = read_query(request, REQUESTS_QUERY), request.app[SERVICES]
    await services.ledger.flush()
    found = await services.usage.latest(limit=asked["limit"], key=asked.get("key"))
    return json_response({"requests": found, "timestamp": answers.now()})


USAGE_QUERY, REQUESTS_QUERY = UsageQuery(), RequestsQuery()

USAGE = (
    Endpoint(
        name="allUsage", path="/admin/usage", handler=usage, summary="What everybody used", tag="Administration",
        access="admin", query=UsageQuery, errors=(errors.ValidationFailed,), answers={200: {JSON: AllUsageAnswer}},
        sample={"by": "day", "since": "2026-10-25", "until": "2026-11-23", "budget": None, "total": FIGURES,
                "rows": [DAY], "timestamp": SAMPLE["timestamp"]}),
    Endpoint(
        name="latestRequests", path="/admin/requests", handler=latest, summary="The latest generations",
        tag="Administration", access="admin", query=RequestsQuery, errors=(errors.ValidationFailed,),
        answers={200: {JSON: RequestsAnswer}},
        sample={"timestamp": SAMPLE["timestamp"], "requests": [{
            "at": SAMPLE["timestamp"], "request_id": SAMPLE["request_id"], "key": "web", "model": "claude-sonnet-5-5",
            "outcome": "completed", "error": None, "stop_reason": "end_turn", "input_tokens": 12, "output_tokens": 30,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "cost_usd": 0.000324,
            "first_seconds": 0.412, "seconds": 0.75}]}),
)
