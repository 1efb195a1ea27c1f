"""What the key that asks has used, what that cost, and how much it may use yet."""
from dataclasses import asdict
from datetime import UTC, datetime

from aiohttp import web
from marshmallow import Schema, fields, validate

from aioapp.callers import Caller
from aioapp.money import NANO
from aioapp.endpoints.usage_schemas import (
    DAY, FIGURES, MODEL, REFUSED, DayAnswer, LimitsAnswer, ModelAnswer, RefusalsAnswer, figures, marked, simulated,
)
from aioapp.keys.text import budget_object
from aioapp.usage.usage_store import UsageStore
from aioapp.web import answers
from aioapp.web.context import CALLER, SERVICES
from aioapp.web.endpoint import Endpoint, json_response
from aioapp.web.schemas import SAMPLE


class SpentBudgetAnswer(Schema):
    usd = fields.Float(required=True)
    per = fields.String(required=True, validate=validate.OneOf(("day", "month")))
    strict = fields.Boolean(required=True)
    spent_usd = fields.Float(required=True)
    renews_at = fields.DateTime(required=True)


class ServerBudgetAnswer(Schema):
    per = fields.String(required=True, validate=validate.OneOf(("day", "month")))
    renews_at = fields.DateTime(required=True)


class OwnUsageAnswer(Schema):
    """`month` is this calendar month of UTC, `days`, `models` and `refusals` are of the last 30 days."""

    key = fields.String(required=True, allow_none=True, metadata={"description": "null for callers without a key."})
    limits = fields.Nested(LimitsAnswer, required=True)
    budget = fields.Nested(SpentBudgetAnswer, required=True, allow_none=True)
    server_budget = fields.Nested(
        ServerBudgetAnswer, required=True, allow_none=True,
        metadata={"description": "Of all callers together, if there is one: how much it is, only administrators see."})
    today = figures()
    month = figures()
    simulated = simulated()
    days = fields.List(fields.Nested(DayAnswer), required=True)
    models = fields.List(fields.Nested(ModelAnswer), required=True)
    refusals = fields.List(fields.Nested(RefusalsAnswer), required=True)
    timestamp = fields.DateTime(required=True)


async def usage(request: web.Request) -> web.Response:
    services, caller, now = request.app[SERVICES], request[CALLER], datetime.now(UTC)
    await services.ledger.flush()  # what has just been asked is part of it
    own = await services.usage.own(caller.key, today=now.date())
    return json_response({
        "key": caller.key,
        "limits": asdict(caller.limits),
        "budget": await spent(caller, services.usage, now=now),
        "simulated": services.simulated,
        "server_budget": existing(services.everybody, now=now),
        **own,
        "models": marked(own["models"], services.prices),
        "timestamp": answers.now(),
    })


async def spent(caller: Caller, usage: UsageStore, *, now: datetime) -> answers.Object | None:
    if caller.budget is None:
        return None
    return {
        **budget_object(caller.budget),
        "spent_usd": await usage.spent(caller) / NANO,
        "renews_at": caller.budget.renews(now).isoformat(),
    }


def existing(everybody: Caller, *, now: datetime) -> answers.Object | None:
    budget = everybody.budget
    return None if budget is None else {"per": budget.per, "renews_at": budget.renews(now).isoformat()}


USAGE = Endpoint(
    name="usage", path="/api/usage", handler=usage, summary="What your key has used", access="authenticated",
    description="Without keys: what all callers have used together. Asking costs no request of your limit.",
    answers={200: {"application/json": OwnUsageAnswer}},
    sample={
        "key": "web",
        "limits": {"requests_per_minute": 60, "tokens_per_minute": 100_000, "concurrency": 4},
        "budget": {"usd": 5.0, "per": "day", "strict": False, "spent_usd": 0.000972,
                   "renews_at": "2026-11-24T00:00:00+00:00"},
        "simulated": False, "server_budget": None, "today": FIGURES, "month": FIGURES, "days": [DAY],
        "models": [MODEL], "refusals": [REFUSED], "timestamp": SAMPLE["timestamp"],
    })
