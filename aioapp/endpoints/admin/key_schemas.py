"""Keys as JSON: how one is described that is wanted, and one that is there."""
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from aioapp.keys.changes import Patch
from aioapp.keys.key import CONTROLS, MOST_PATTERNS, NAME, PATTERN, TEXTS
from aioapp.keys.state import STATES
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
    last_used_at = fields.DateTime(required=True, allow_none=True, metadata={
        "description": "When its latest generation ended, by a second or so; null where there was none."})
    spent_usd = fields.Float(required=True, allow_none=True, metadata={
        "description": "Of its budget, in the day or month that runs; null without one."})
    state = fields.String(required=True, validate=validate.OneOf(STATES), metadata={
        "description": "The first of these that is true: `near_budget` is 80 % of it, `limited` is refused for a limit "
                       "within five minutes, `expires_soon` within seven days."})
    note = fields.String(required=True, allow_none=True)
    owner = fields.String(required=True, allow_none=True)


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


class BudgetPatch(Body):
    """What is absent stays; of a key that has no budget, nothing is there to stay."""

    usd = number(NANODOLLAR, MOST, allow_none=False)
    per = choice(PERIODS, allow_none=False)
    strict = flag(description="Relayed calls never exceed it either.")


def about(name: str, description: str) -> fields.String:
    return text(least=1, most=TEXTS[name], pattern=f"^[^{CONTROLS}]+$", description=description)


class Terms(Body):
    """What a key may do, and what is written about it."""

    requests_per_minute = whole(1, MOST)
    tokens_per_minute = whole(1, MOST)
    concurrency = whole(1, MOST, description="Generations at once.")
    models = many(text(least=1, most=128, allow_none=False, pattern=f"^{PATTERN.pattern}$"), most=MOST_PATTERNS,
                  description="Patterns; * is any text. All, without.")
    expires_at = text(least=1, most=64, description="ISO 8601: a day, which is the last, or a time with its zone.")
    note = about("note", "Anything, in one line.")
    owner = about("owner", "Who has it: a name, an e-mail address.")


class CreateKeyBody(Terms):
    name = text(least=1, most=64, required=True, pattern=f"^{NAME.pattern}$",
                description="Taken even when the key is revoked, until it is forgotten on the command line.")
    admin = flag(load_default=False)
    budget = one(BudgetBody)


class UpdateKeyBody(Terms):
    """A JSON merge patch (RFC 7396) of what makes a key: what is absent stays as it is, and null lifts."""

    admin = flag()
    budget = one(BudgetPatch)


class RotateKeyBody(Body):
    grace_seconds = whole(0, 31_536_000, load_default=GRACE, description="How long the older secrets still work.")


def asked_for(body: Mapping[str, Any], *, at: datetime) -> Key:
    """The key that `body` describes. Raises `ValidationFailed`."""
    budget, models = body.get("budget"), body.get("models")
    with told_by_field():
        return Key(
            name=body["name"], admin=body["admin"], created_at=at,
            limits=Limits(**{row.name: body.get(row.name) for row in fields_of(Limits)}),
            budget=budget and budget_of(budget),
            models=("*",) if models is None else tuple(models),
            expires_at=expiry(body["expires_at"], at=at) if "expires_at" in body else None,
            **{name: body.get(name) for name in TEXTS})


def patch_asked_for(body: Mapping[str, Any], *, at: datetime) -> Patch:
    """The change that `body` describes. Raises `ValidationFailed`."""
    patch = dict(body)
    if (expires := body.get("expires_at")) is not None:
        with told_by_field():
            patch["expires_at"] = expiry(expires, at=at)
    if (budget := body.get("budget")) is not None:
        patch["budget"] = {"nanodollars" if name == "usd" else name: nanodollars(said) if name == "usd" else said
                           for name, said in budget.items()}
    return patch


@contextmanager
def told_by_field() -> Iterator[None]:
    """Around what says in a `ValueError` which field is wrong: raises `ValidationFailed` in its place."""
    try:
        yield
    except ValueError as error:
        field, _, problem = str(error).partition(": ")
        raise errors.ValidationFailed([row(["body", *field.split(".")], f"value_error|{problem}")]) from None


def nanodollars(usd: float) -> int:
    return int(Decimal(str(usd)) * NANO)


def budget_of(body: Mapping[str, Any]) -> Budget:
    """`strict` may be null: only the body's own fields are never."""
    return Budget(nanodollars=nanodollars(body["usd"]), per=body["per"], strict=bool(body["strict"]))


KEY = {
    "name": "web",
    "admin": False,
    "limits": {"requests_per_minute": 60, "tokens_per_minute": 100_000, "concurrency": 4},
    "budget": {"usd": 5.0, "per": "day", "strict": False},
    "spent_usd": 0.000972,
    "models": ["claude-sonnet-*"],
    "created_at": SAMPLE["timestamp"],
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": SAMPLE["timestamp"],
    "state": "active",
    "note": None,
    "owner": "web@example.com",
}
WANTED = {"name": "web", "requests_per_minute": 60, "tokens_per_minute": 100_000, "concurrency": 4,
          "budget": {"usd": 5, "per": "day", "strict": False}, "models": ["claude-sonnet-*"],
          "owner": "web@example.com"}
CHANGED = {"concurrency": 8, "budget": {"usd": 10}, "expires_at": None, "note": "Twice as much until the fair."}
SECRET = "aio_0123456789abcdef_" + 43 * "x"
