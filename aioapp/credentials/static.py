"""Credentials that stay as they were at the start."""
from collections.abc import Mapping
from dataclasses import dataclass, field

from aioapp.credentials.protocol import REFUSED, UNSENDABLE, Credentials, Kind, Sources, Status, bearer, sendable
from aioapp.errors import NotInitialized

_KINDS: Mapping[str, Kind] = {
    "ANTHROPIC_API_KEY": "api_key", "ANTHROPIC_AUTH_TOKEN": "oauth_token", "CLAUDE_CODE_OAUTH_TOKEN": "oauth_token",
}


@dataclass(slots=True)
class _Memory:
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """Nothing was found, or nothing that can be used; `problem` is a sentence that says so."""

    kind: Kind | None
    source: str | None
    problem: str
    sources: Sources
    base_url: None = None

    def status(self) -> Status:
        return Status(
            kind=self.kind, source=self.source, available=self.sources.now(), expires_at=None, error=self.problem,
        )

    async def headers(self) -> Mapping[str, str]:
        raise NotInitialized(self.problem)

    def refused(self, headers: Mapping[str, str]) -> bool:
        return False

    def accepted(self) -> None:
        """Nothing was sent, so nothing was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """A key or token out of a variable."""

    kind: Kind
    source: str
    sources: Sources
    sent: Mapping[str, str] = field(repr=False)
    base_url: None = None
    _memory: _Memory = field(default_factory=_Memory)

    def status(self) -> Status:
        error = REFUSED if self._memory.refused else None
        return Status(
            kind=self.kind, source=self.source, available=self.sources.now(), expires_at=None, error=error,
        )

    async def headers(self) -> Mapping[str, str]:
        return self.sent

    def refused(self, headers: Mapping[str, str]) -> bool:
        self._memory.refused = True
        return False

    def accepted(self) -> None:
        self._memory.refused = False


def fixed(key: str, source: str) -> Credentials:
    """An API key that is known to the caller; `source` is the name it is shown under."""
    return _static(key.strip(), kind="api_key", source=source, sources=Sources((source,)))


def from_environment(values: Mapping[str, str], sources: Sources, *names: str) -> Credentials | None:
    """The first of these variables that is set. `values` is the environment without blank variables."""
    name = next((name for name in names if name in values), None)
    return None if name is None else _static(values[name], kind=_KINDS[name], source=name, sources=sources)


def _static(secret: str, *, kind: Kind, source: str, sources: Sources) -> Credentials:
    if not sendable(secret):
        return Unusable(kind=kind, source=source, problem=UNSENDABLE.format(source), sources=sources)
    sent = bearer(secret, oauth=source == "CLAUDE_CODE_OAUTH_TOKEN")
    return Bearer(kind=kind, source=source, sources=sources, sent=sent)
