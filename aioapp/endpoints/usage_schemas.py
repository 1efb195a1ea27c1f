"""What may be used, what was, and what that cost, as JSON."""
from collections.abc import Iterable
from typing import Any, get_args

from marshmallow import Schema, fields, validate

from aioapp.errors import Reason
from aioapp.usage import Prices
from aioapp.web.schemas import SAMPLE, UsageAnswer


def simulated() -> fields.Boolean:
    return fields.Boolean(required=True, metadata={
        "description": "Whether Claude is a simulator: then nothing was paid, and none of this is real usage."})


class LimitsAnswer(Schema):
    """None is no limit."""

    requests_per_minute = fields.Integer(required=True, allow_none=True)
    tokens_per_minute = fields.Integer(required=True, allow_none=True)
    concurrency = fields.Integer(required=True, allow_none=True, metadata={"description": "Generations at once."})


class FiguresAnswer(UsageAnswer):
    """`requests` counts all generations, those included that failed or were cancelled, but none that was refused."""

    requests = fields.Integer(required=True)
    refused = fields.Integer(metadata={
        "description": "For the key's own terms. Not told by model: most of them came before one was known."})
    failed = fields.Integer(required=True)
    cancelled = fields.Integer(required=True)
    tokens = fields.Integer(required=True, metadata={"description": "All four kinds."})
    cost_usd = fields.Float(required=True)
    seconds = fields.Float(required=True, metadata={"description": "From the first to the last byte, added up."})


class RefusalsAnswer(Schema):
    reason = fields.String(required=True, validate=validate.OneOf(get_args(Reason)))
    requests = fields.Integer(required=True)
    last_at = fields.DateTime(required=True)


class DayAnswer(FiguresAnswer):
    day = fields.Date(required=True)


GUESSED = "The price list has no such model, so what it cost is a guess: the most that any model ever cost."


class ModelAnswer(FiguresAnswer):
    model = fields.String(required=True)
    guessed = fields.Boolean(required=True, metadata={"description": GUESSED})


def marked(rows: Iterable[dict[str, Any]], prices: Prices) -> list[dict[str, Any]]:
    """Figures by model, each with whether its cost is a guess, by the list as it is now."""
    return [{**row, "guessed": row["cost_usd"] > 0 and prices.guesses(row["model"])} for row in rows]


def figures(schema: type[Schema] = FiguresAnswer) -> fields.Nested:
    return fields.Nested(schema, required=True)


FIGURES = {
    "requests": 3, "refused": 1, "failed": 0, "cancelled": 1, "input_tokens": 36, "output_tokens": 90,
    "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "tokens": 126, "cost_usd": 0.000972,
    "seconds": 2.25,
}
DAY = {"day": "2026-11-23", **FIGURES}
MODEL = {"model": "claude-sonnet-5-5", "guessed": False,
         **{name: figure for name, figure in FIGURES.items() if name != "refused"}}
REFUSED = {"reason": "requests_per_minute", "requests": 1, "last_at": SAMPLE["timestamp"]}
