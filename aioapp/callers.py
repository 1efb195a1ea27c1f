"""Who asks, and what they may: values that the edge makes and every room behind it reads."""
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from aioapp.errors import Forbidden

Period = Literal["day", "month"]
NEAR = 80
"""Per cent of a budget that are spent when it is near its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None is no limit. `concurrency` is how many generations may run at once."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent in a calendar day or month of UTC.

    A relayed call may take a little more than is left; of what is `strict`, it may not either.
    """

    nanodollars: int
    per: Period
    strict: bool = False

    def is_near(self, spent: int) -> bool:
        """Whether so much of it is spent, in nanodollars, that it is near its end."""
        return spent * 100 >= self.nanodollars * NEAR

    def is_spent(self, spent: int) -> bool:
        return spent >= self.nanodollars

    def began(self, at: datetime) -> datetime:
        """When the period began in which `at` lies."""
        day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return day if self.per == "day" else day.replace(day=1)

    def period(self, at: datetime) -> str:
        """The period in which `at` lies: a day such as 2026-11-23, or a month such as 2026-11."""
        day = at.astimezone(UTC).date().isoformat()
        return day if self.per == "day" else day[:7]

    def renews(self, at: datetime) -> datetime:
        """When the period ends in which `at` lies."""
        if self.per == "day":
            return self.began(at) + timedelta(days=1)
        return (self.began(at) + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the database says was spent of a budget in the period in which `at` lies.

    `mark` is when it was read, as the limiter gave it right before. None: it is not known.
    """

    at: datetime
    period: str
    nanodollars: int
    mark: object | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a key stands with its terms.

    `spent` is in nanodollars, in the day and the month that run. `limited_at` is when a limit refused the key last,
    `unpaid_at` when its budget did: None where that was not lately.
    """

    spent: Mapping[Period, int] = field(default_factory=dict)
    limited_at: datetime | None = None
    unpaid_at: datetime | None = None

    def of(self, budget: Budget) -> int:
        """Nanodollars that are spent of the budget."""
        return self.spent.get(budget.per, 0)


UNUSED = Standing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller: one of our keys, or, where there are none, an address.

    `name` is the key's, or the address. `secret` is the public id of the secret that was shown, `models` are patterns
    in which `*` stands for any text. Its limits are counted under `account`. Its usage is kept under `key`, the key's
    name; addresses are not kept.
    """

    name: str
    known: bool = False
    secret: str = ""
    limits: Limits = UNLIMITED
    budget: Budget | None = None
    models: tuple[str, ...] = ("*",)
    admin: bool = False
    account: str = field(init=False, repr=False, compare=False)
    key: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once, for a key's holder stays for many requests, each of which asks for them several times.
        object.__setattr__(self, "account", ("key:" if self.known else "address:") + self.name)
        object.__setattr__(self, "key", self.name if self.known else None)

    def check_model(self, model: str) -> None:
        """Raises `Forbidden` for a model that it may not use."""
        if not self.may_use(model):
            raise Forbidden(f"Your key may not use the model {model}. It may use: {', '.join(self.models)}.",
                            refused="model")

    def may_use(self, model: str) -> bool:
        """Whether one of the patterns fits the name."""
        return "*" in self.models or any(fits(pattern, model) for pattern in self.models)


def fits(pattern: str, name: str) -> bool:
    """Whether `name` is what `pattern` says."""
    return matching(pattern).fullmatch(name) is not None


def matching(pattern: str) -> re.Pattern[str]:
    """Only `*` stands for other text. Each part is sought once, never again, so no name takes long to match."""
    first, *parts = map(re.escape, pattern.split("*"))
    ends = f".*{parts.pop()}" if parts else ""
    return re.compile(first + "".join(f"(?>.*?{part})" for part in parts) + ends, re.DOTALL)


NOBODY = Caller(name="")
EVERYBODY = "*"
"""The name under which all callers' spending is added up, whether they have a key or not: no key can be called so."""


def everybody(budget: Budget | None) -> Caller:
    """All callers together, who have the budget of the whole server."""
    return Caller(name=EVERYBODY, known=True, budget=budget)
