"""What every source of credentials is, shows and sends."""
import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol, runtime_checkable

Kind = Literal["api_key", "oauth_token", "profile", "workload_identity"]

LOGIN: Final = "Claude Code login"
REFUSED: Final = "Claude refused these credentials."
UNSENDABLE: Final = "{} holds a character that no key has, such as a line break in its middle."

_VISIBLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What anybody may know about the credentials: no part of a secret, and no path.

    `kind` and `source` name what is in use, None when nothing is there; `available` names every source that seems to
    hold something, in order; `expires_at` is in UTC; `error` is a sentence for a person.
    """

    kind: Kind | None
    source: str | None
    available: tuple[str, ...]
    expires_at: datetime | None
    error: str | None

    @property
    def is_valid(self) -> bool:
        """As far as can be told without asking Claude."""
        return self.kind is not None and self.error is None

    @property
    def is_usable(self) -> bool:
        """Whether there is something to send. What Claude refused is still sent: it may be taken again."""
        return self.kind is not None and self.error in (None, REFUSED)

    @property
    def summary(self) -> str:
        """One sentence for a person."""
        until = f", valid until {self.expires_at:%Y-%m-%d %H:%M} UTC" if self.expires_at else ""
        return self.error or f"Credentials come from {self.source}{until}."


class Credentials(Protocol):
    """A source of credentials, for one event loop."""

    @property
    def base_url(self) -> str | None:
        """The host that a profile names for itself. A base URL that was set explicitly goes before it."""

    def status(self) -> Status:
        """How things stand now; it may look at a file, never at the network."""

    async def headers(self) -> Mapping[str, str]:
        """What to send with a request.

        Raises `NotInitialized` when there is nothing to send, `CredentialsRefused` when a token exchange failed.
        """

    def refused(self, headers: Mapping[str, str]) -> bool:
        """Claude answered 401 or 403 to these `headers`: may a second try, with new ones, fare better?

        Try only so often: a workload identity gets a new token every time, so its answer may be True for ever.
        """

    def accepted(self) -> None:
        """Claude took what was sent: a refusal before it no longer counts."""


@runtime_checkable
class Closable(Protocol):
    """Credentials that hold a connection."""

    def close(self) -> None: ...


def close(credentials: Credentials) -> None:
    """Let go of the connection that a token exchange may have left open; nothing can be sent after it."""
    if isinstance(credentials, Closable):
        credentials.close()


@dataclass(frozen=True, slots=True)
class Sources:
    """The names of the sources that hold something: `found` at the start, and a login file that may come and go."""

    found: tuple[str, ...]
    login: Path | None = None

    def now(self) -> tuple[str, ...]:
        there = self.login is not None and os.path.isfile(self.login)
        return (*self.found, LOGIN) if there else self.found


def sendable(secret: str) -> bool:
    """Can this go into a header? Visible ASCII only; the rest is a slip of the clipboard or the shell."""
    return _VISIBLE.fullmatch(secret) is not None


def bearer(token: str, *, oauth: bool) -> dict[str, str]:
    """The headers for a `token`; `oauth` for one that a person or a workload was given by a login."""
    headers = {"Authorization": f"Bearer {token}"}
    return headers | {"anthropic-beta": "oauth-2025-04-20"} if oauth else headers


def moment(count: float | None, *, per_second: int = 1) -> datetime | None:
    """A unix time in UTC; None if there is none, or one too far away to have a date."""
    try:
        return None if count is None else datetime.fromtimestamp(count / per_second, UTC)
    except (ValueError, OverflowError, OSError):
        return None
