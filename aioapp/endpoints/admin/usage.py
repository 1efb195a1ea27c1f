"""What everybody used, for administrators: by whatever they ask, and as JSON or as a file for a spreadsheet."""
import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import get_args

from aiohttp import web
from marshmallow import Schema, fields

from aioapp import errors
from aioapp.endpoints.usage import SpentBudgetAnswer, spent
from aioapp.endpoints.usage_schemas import (
    DAY, FIGURES, GUESSED, REFUSED, FiguresAnswer, RefusalsAnswer, figures, marked, simulated,
)
from aioapp.usage.usage_store import By
from aioapp.web import answers
from aioapp.web.context import SERVICES
from aioapp.web.csv_response import CSV, csv_response
from aioapp.web.endpoint import Endpoint, json_response, read_query
from aioapp.web.fields import choice, day, several
from aioapp.web.schemas import SAMPLE, Body

MOST_COLUMNS = 3
DAYS = 30
EARLIEST = date.min + timedelta(days=DAYS - 1)
"""The last of the first days that there are."""
JSON = "application/json"
SUMMED = (*(name for name in FIGURES if name != "refused"), "refused")


class UsageQuery(Body):
    by = several(get_args(By), most=MOST_COLUMNS, required=True, description=(
        "One to three of them, with commas between. An owner is the one that a key has now."))
    since = day(description="The first day, in UTC; 30 days, today included, without.")
    until = day(description="The last day, in UTC; today without.")
    format = choice(("json", "csv"), load_default="json", description="`csv` has the rows alone.")


class RowAnswer(FiguresAnswer):
    """It is of a key, a model, a day, an owner, or of as many of these as were asked for."""

    key = fields.String(metadata={"description": "`anonymous` are all callers without a key."})
    model = fields.String(allow_none=True)
    day = fields.Date()
    owner = fields.String(allow_none=True, metadata={"description": "null for keys without one."})
    guessed = fields.Boolean(metadata={"description": f"Where it is of a model. {GUESSED}"})


class KeyRefusalsAnswer(RefusalsAnswer):
    key = fields.String(required=True)


class AllUsageAnswer(Schema):
    by = fields.String(required=True)
    since = fields.Date(required=True)
    until = fields.Date(required=True)
    simulated = simulated()
    budget = fields.Nested(
        SpentBudgetAnswer, required=True, allow_none=True, metadata={"description": "Of all callers together."})
    total = figures()
    rows = fields.List(fields.Nested(RowAnswer), required=True, metadata={"description": "At most 10,000."})
    refusals = fields.List(fields.Nested(KeyRefusalsAnswer), required=True, metadata={
        "description": "Of each key and reason, the most frequent first; at most 1,000."})
    timestamp = fields.DateTime(required=True)


async def usage(request: web.Request) -> web.Response:
    asked, services = read_query(request, USAGE_QUERY), request.app[SERVICES]
    until: date = asked.get("until") or datetime.now(UTC).date()
    since: date = asked.get("since") or max(until, EARLIEST) - timedelta(days=DAYS - 1)
    columns: list[By] = list(dict.fromkeys(asked["by"].split(",")))
    await services.ledger.flush()
    total, rows = await services.usage.by(columns, since=since, until=until)
    if "model" in columns:
        rows = marked(rows, services.prices)
    if asked["format"] == "csv":
        name = f"usage-by-{'-'.join(columns)}-{since}-{until}.csv"
        return await asyncio.to_thread(csv_response, rows, columns=[*columns, *SUMMED], name=name)
    refusals = await services.usage.refusals(since=since, until=until)
    budget = await spent(services.everybody, services.usage, now=datetime.now(UTC))
    said = {"by": asked["by"], "since": since.isoformat(), "until": until.isoformat(),
            "simulated": services.simulated, "budget": budget, "total": total, "rows": rows, "refusals": refusals,
            "timestamp": answers.now()}
    return await asyncio.to_thread(json_response, said)  # ten thousand rows take a tenth of a second


USAGE_QUERY = UsageQuery()
REFUSALS = {"key": "web", **REFUSED}

ALL_USAGE = Endpoint(
    name="allUsage", path="/admin/usage", handler=usage, summary="What everybody used", tag="Administration",
    access="admin", query=UsageQuery, errors=(errors.ValidationFailed, errors.BadRequest),
    description="400 for more than 10,000 rows.",
    answers={200: {JSON: AllUsageAnswer, CSV: {"type": "string", "examples": ["day,requests\r\n2026-11-23,3\r\n"]}}},
    sample={"by": "day", "since": "2026-10-25", "until": "2026-11-23", "simulated": False, "budget": None,
            "total": FIGURES, "rows": [DAY], "refusals": [REFUSALS],
            "timestamp": SAMPLE["timestamp"]})
