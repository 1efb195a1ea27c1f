"""Keys as JSON: how one is described that is wanted, and one that is there."""
from collections.abc import Mapping
from dataclasses import fields as fields_of
from datetime import datetime
from decimal import Decimal
from typing import Any

from marshmallow import Schema, fields, validate

from aioapp import errors
from aioapp.callers import Budget, Limits
from aioapp.money import NANO
from aioapp.endpoints.usage_schemas import LimitsAnswer
from aioapp.keys import Key, expiry
from aioapp.keys.key import MOST_PATTERNS, NAME, PATTERN
from aioapp.web.fields import choice, flag, many, number, one, text, whole
from aioapp.web.schemas import SAMPLE, Body
from aioapp.web.validation import row

PERIODS = ("day", "month")
MOST = 10**9
NANODOLLAR = 1e-9
GRACE = 86_400


class BudgetAnswer(Schema):
    usd = fields.Float(required=True)
    per = fields.String(required=True, validate=validate.OneOf(PERIODS))
    strict = fields.Boolean(required=True)


class KeyAnswer(Schema):
    """What a key may do; its secret is told once, when it is made."""

    name = fields.String(required=True)
    admin = fields.Boolean(required=True)
    limits = fields.Nested(LimitsAnswer, required=True)
    budget = fields.Nested(BudgetAnswer, required=True, allow_none=True)
    models = fields.List(fields.String(), required=True, metadata={"description": "Patterns; * is any text."})
    created_at = fields.DateTime(required=True)
    expires_at = fields.DateTime(required=True, allow_none=True)
    revoked_at = fields.DateTime(required=True, allow_none=True)
    state = fields.String(required=True, validate=validate.OneOf(("active", "expired", "revoked")))


class KeysAnswer(Schema):
    keys = fields.List(fields.Nested(KeyAnswer), required=True)
    timestamp = fields.DateTime(required=True)


class OneKeyAnswer(Schema):
    key = fields.Nested(KeyAnswer, required=True)
    timestamp = fields.DateTime(required=True)


class NewSecretAnswer(OneKeyAnswer):
    secret = fields.String(required=True, metadata={"description": "What callers send. It cannot be had again."})


class BudgetBody(Body):
    usd = number(NANODOLLAR, MOST, required=True)
    per = choice(PERIODS, required=True)
    strict = flag(load_default=False, description="Relayed calls never exceed it either.")


class CreateKeyBody(Body):
    name = text(least=1, most=64, required=True, pattern=f"^{NAME.pattern}$",
                description="Never used again, even when the key is revoked.")
    admin = flag(load_default=False)
    requests_per_minute = whole(1, MOST)
    tokens_per_minute = whole(1, MOST)
    concurrency = whole(1, MOST, description="Generations at once.")
    budget = one(BudgetBody)
    models = many(text(least=1, most=128, allow_none=False, pattern=f"^{PATTERN.pattern}$"), most=MOST_PATTERNS,
                  description="Patterns; * is any text. All, without.")
    expires_at = text(least=1, most=64, description="ISO 8601: a day, which is the last, or a time with its zone.")


class RotateKeyBody(Body):
    grace_seconds = whole(0, 31_536_000, load_default=GRACE, description="How long the older secrets still work.")


def asked_for(body: Mapping[str, Any], *, at: datetime) -> Key:
    """The key that `body` describes. Raises `ValidationFailed`."""
    budget, models = body.get("budget"), body.get("models")
    try:
        return Key(
            name=body["name"], admin=body["admin"], created_at=at,
            limits=Limits(**{row.name: body.get(row.name) for row in fields_of(Limits)}),
            budget=budget and budget_of(budget),
            models=("*",) if models is None else tuple(models),
            expires_at=expiry(body["expires_at"], at=at) if "expires_at" in body else None)
    except ValueError as error:
        field, _, problem = str(error).partition(": ")
        raise errors.ValidationFailed([row(["body", field], f"value_error|{problem}")]) from None


def budget_of(body: Mapping[str, Any]) -> Budget:
    """`strict` may be null: only the body's own fields are never."""
    return Budget(nanodollars=int(Decimal(str(body["usd"])) * NANO), per=body["per"], strict=bool(body["strict"]))


KEY = {
    "name": "web",
    "admin": False,
    "limits": {"requests_per_minute": 60, "tokens_per_minute": 100_000, "concurrency": 4},
    "budget": {"usd": 5.0, "per": "day", "strict": False},
    "models": ["claude-sonnet-*"],
    "created_at": SAMPLE["timestamp"],
    "expires_at": None,
    "revoked_at": None,
    "state": "active",
}
WANTED = {"name": "web", "requests_per_minute": 60, "tokens_per_minute": 100_000, "concurrency": 4,
          "budget": {"usd": 5, "per": "day", "strict": False}, "models": ["claude-sonnet-*"]}
SECRET = "aio_0123456789abcdef_" + 43 * "x"
