"""A key: what its holder may do, and the secrets that prove who holds it."""
import hmac
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal, TypeVar

from aioapp.callers import UNLIMITED, Budget, Caller, Limits, fits
from aioapp.money import MOST_DOLLARS, NANO

T = TypeVar("T", int, datetime)
State = Literal["active", "expired", "revoked"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED = "anonymous"
"""What reports call callers without a key."""

PATTERN = re.compile(r"[!-+.->@-Z\\-~-]{1,128}")
"""Visible ASCII, but neither `?` nor `[`, which are wildcards elsewhere, nor a comma, which would part two patterns."""

MOST_PATTERNS = 50
CONTROLS = r"\u0000-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069"
"""Characters that end a line, steer a terminal, or turn the direction of what follows: not for a text about a key."""
PLAIN = re.compile(rf"[^{CONTROLS}\uD800-\uDFFF]+")
"""Halves of a pair (U+D800 to U+DFFF) are no characters, and no store takes them."""
TEXTS = {"note": 500, "owner": 200}
"""What people write about a key, each with its most characters."""
MOST = MOST_DOLLARS
"""Of what a limit counts, and of dollars."""
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
"""Not all later times exist in every time zone."""
LONGEST_GRACE = timedelta(days=365)
"""How long a secret lasts at most that was replaced by a new one."""
SESSION_LIFETIME = timedelta(hours=12)
"""Of an administrator's browser."""

SECRET = re.compile(r"aio_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
"""A prefix to recognise it by, its public id, and 256 bits in base64 (RFC 4648 §5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """`models` are patterns in which `*` stands for any text. Times know their zone; None is never.

    It was used last when its latest generation ended. `note` and `owner` are for people to read: nothing goes by them.
    Raises `ValueError`, with one line that names the field, for a key that cannot be.
    """

    name: str
    admin: bool = False
    limits: Limits = UNLIMITED
    budget: Budget | None = None
    models: tuple[str, ...] = ("*",)
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    note: str | None = None
    owner: str | None = None

    def __post_init__(self) -> None:
        if problem := next(problems(self), None):
            raise ValueError(problem)

    def state(self, at: datetime) -> State:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and at >= self.expires_at else "active"

    def caller(self, secret: str) -> Caller:
        """Its holder, who showed the secret with the public id `secret`."""
        return Caller(name=self.name, known=True, secret=secret, limits=self.limits, budget=self.budget,
                      models=self.models, admin=self.admin)

    def exceeds(self, other: "Key") -> list[str]:
        """The names of what this key has beyond `other`; none where whatever this one may, `other` may too.

        A `Caller` would not do for `other`: it does not know when it expires.
        """
        beyond = {
            "admin": self.admin and not other.admin,
            **{row.name: not within(getattr(self.limits, row.name), getattr(other.limits, row.name))
               for row in fields(Limits)},
            "budget": not affords(other.budget, self.budget),
            "models": not all(any(covers(theirs, ours) for theirs in other.models) for ours in self.models),
            "expires_at": not within(self.expires_at, other.expires_at),
        }
        return [name for name, more in beyond.items() if more]


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What is kept of a secret: `id` is the public part of its text, `digest` the SHA-256 of all of it.

    `key` is the name of its key. It expires when another one took its place.
    """

    id: str
    key: str
    digest: bytes = field(repr=False)
    expires_at: datetime | None = None


def mint() -> tuple[str, str, bytes]:
    """A new secret: its text, which is shown once and kept nowhere, its public id and its digest."""
    public = secrets.token_hex(8)
    shown = f"aio_{public}_{secrets.token_urlsafe(32)}"
    return shown, public, digest_of(shown)


def digest_of(given: str) -> bytes:
    # A fast digest is enough: nobody guesses 256 bits. What a header made of odd bytes must not raise.
    return sha256(given.encode(errors="surrogatepass")).digest()


def proves(given: str, digest: bytes) -> bool:
    """Whether `digest` is that of `given`. How long that takes does not tell how nearly it is."""
    return hmac.compare_digest(digest_of(given), digest)


def problems(key: Key) -> Iterator[str]:
    """What is wrong with the key, a line for each field."""
    if NAME.fullmatch(key.name) is None:
        yield "name: 1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or a digit"
    if key.name.lower() == RESERVED:
        yield f"name: reports call callers without a key {RESERVED}"
    for row in fields(Limits):
        limit: int | None = getattr(key.limits, row.name)
        if limit is not None and not 1 <= limit <= MOST:
            yield f"{row.name}: a whole number from 1 to {MOST}"
    if key.budget and (key.budget.per not in ("day", "month") or not 1 <= key.budget.nanodollars <= MOST * NANO):
        yield f"budget: more than 0 and at most {MOST} dollars, per day or month"
    if not 1 <= len(key.models) <= MOST_PATTERNS or not all(map(PATTERN.fullmatch, key.models)):
        yield (f"models: 1 to {MOST_PATTERNS} patterns of 1 to 128 visible ASCII characters, in which * stands for any "
               "text; ?, [ and commas cannot be part of one")
    for name, most in TEXTS.items():
        said: str | None = getattr(key, name)
        if said is not None and (len(said) > most or PLAIN.fullmatch(said) is None):
            yield f"{name}: 1 to {most} characters in one line, none of them a control character"
    for name in ("created_at", "expires_at", "revoked_at", "last_used_at"):
        at: datetime | None = getattr(key, name)
        if at is not None and (at.utcoffset() is None or at >= END_OF_TIME):
            yield f"{name}: a time before the year 9999, with its zone"


def within(ours: T | None, theirs: T | None) -> bool:
    """Whether `ours` is at most `theirs`; None is more than anything else."""
    return theirs is None or (ours is not None and ours <= theirs)


def covers(theirs: str, ours: str) -> bool:
    """Whether every text that the pattern `ours` fits fits `theirs` too.

    The `*`s of `ours` are read as text here. Only a `*` of `theirs` can match that, and it matches as well whatever
    they stand for.
    """
    return fits(theirs, ours)


def affords(theirs: Budget | None, ours: Budget | None) -> bool:
    """Whether `ours` never spends what `theirs` would not. A month's budget is not measured against a day's.

    Relayed calls may spend beyond what is not strict, so that is within nothing strict, whatever the amounts.
    """
    if theirs is None or ours is None:
        return theirs is None
    if theirs.strict and not ours.strict:
        return False
    if (theirs.per, ours.per) == ("month", "day"):
        return ours.nanodollars * 31 <= theirs.nanodollars
    return ours.per == theirs.per and ours.nanodollars <= theirs.nanodollars
