"""What the `anthropic` SDK finds: a profile, or a workload identity.

Importing this imports the SDK, which costs seconds. The SDK reads `os.environ` and the process's own home directory.
"""
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import httpx2
from anthropic import AnthropicError, CredentialsError
from anthropic.lib.credentials import (
    AccessToken, CredentialResult, CredentialsFile, TokenCache, WorkloadIdentityCredentials,
    WorkloadIdentityError, default_credentials,
)

from aioapp.credentials.protocol import REFUSED, Credentials, Kind, Sources, Status, bearer, moment, sendable
from aioapp.credentials.static import Unusable
from aioapp.errors import CredentialsRefused, NotInitialized

log = logging.getLogger(__name__)

_KINDS: Final[Mapping[str, Kind]] = {"profile": "profile", "workload identity": "workload_identity"}
_BROKEN: Final = "The {} could not be read: check its settings and files."
_UNREAD: Final = "The token of the {} could not be read."
_FAILED: Final = "The token exchange of the {} failed."

# Besides its own errors the SDK lets through what odd values in a profile's files raise.
_FAILURES: Final = (
    AnthropicError, httpx2.HTTPError, httpx2.InvalidURL,
    OSError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError,
)


@dataclass(slots=True)
class _Watched:
    """The SDK's provider, whose last token can be seen, and whose errors carry the name of their cause only.

    The SDK's own messages hold paths and parts of the token endpoint's answer, and TokenCache logs them.
    """

    provider: CredentialsFile | WorkloadIdentityCredentials
    last: AccessToken | None = field(default=None, repr=False)

    def __call__(self, *, force_refresh: bool = False) -> AccessToken:
        try:
            token = self.last = _checked(self.provider(force_refresh=force_refresh))
        except CredentialsError as error:
            raise CredentialsError(type(error).__name__) from None
        except _FAILURES as error:
            status = getattr(error, "status_code", None)  # TokenCache tries again after a 401
            raise WorkloadIdentityError(type(error).__name__, status_code=status) from None
        return token

    def authorization(self) -> str | None:
        return bearer(self.last.token, oauth=True)["Authorization"] if self.last else None


@dataclass(slots=True)
class _Memory:
    problem: str | None = None
    refused: str | None = field(default=None, repr=False)  # the value of the Authorization header


@dataclass(frozen=True, slots=True, kw_only=True)
class FromSDK:
    """Short-lived tokens, kept and renewed by the SDK's TokenCache."""

    source: str
    sources: Sources
    base_url: str | None
    extra_headers: Mapping[str, str] = field(repr=False)
    cache: TokenCache = field(repr=False)
    provider: _Watched = field(repr=False)
    _memory: _Memory = field(default_factory=_Memory)

    def status(self) -> Status:
        last = self.provider.last
        return Status(
            kind=_KINDS[self.source], source=self.source, available=self.sources.now(),
            expires_at=moment(last.expires_at or None) if last else None,
            error=self._memory.problem or (REFUSED if self._is_refused() else None),
        )

    async def headers(self) -> Mapping[str, str]:
        try:
            token = await self.cache.async_get_token()
        except CredentialsError as error:
            raise NotInitialized(self._failed(_UNREAD, error)) from None
        except WorkloadIdentityError as error:
            raise CredentialsRefused(self._failed(_FAILED, error)) from None
        self._memory.problem = None
        return {**self.extra_headers, **bearer(token, oauth=True)}

    def refused(self, headers: Mapping[str, str]) -> bool:
        authorization, memory = headers.get("Authorization"), self._memory
        if authorization != self.provider.authorization():
            return True  # somebody else has seen to it, so that many refusals at once cost one exchange
        came_back = authorization == memory.refused
        memory.refused = authorization
        self.provider.last = None
        self.cache.invalidate()
        return not came_back

    def accepted(self) -> None:
        self._memory.refused = None

    def close(self) -> None:
        """Let go of the connection that a token exchange may have left open; nothing can be sent after it."""
        self.provider.provider.close()

    def _is_refused(self) -> bool:
        """Only a token that is not known to differ from the refused one."""
        refused = self._memory.refused
        return refused is not None and self.provider.authorization() in (None, refused)

    def _failed(self, sentence: str, error: AnthropicError) -> str:
        self._memory.problem = sentence.format(self.source)
        log.warning("%s (%s)", self._memory.problem, error.args[0])
        return self._memory.problem


def from_sdk(wanted: str, *, sources: Sources, base_url: str, clock: Callable[[], float]) -> Credentials | None:
    """The profile or the workload identity; None if the SDK finds neither after all.

    `wanted` is what a cheap look found first, `clock` gives unix seconds. One that is broken is returned as such, since
    somebody has chosen it: the server starts, and says so.
    """
    try:
        with _blanks_hidden():
            result = default_credentials(base_url=base_url)
        return None if result is None else _usable(result, sources=sources, clock=clock)
    except _FAILURES as error:
        problem = _BROKEN.format(wanted)
        log.warning("%s (%s)", problem, type(error).__name__)
        return Unusable(kind=_KINDS[wanted], source=wanted, problem=problem, sources=sources)


def _usable(result: CredentialResult, *, sources: Sources, clock: Callable[[], float]) -> Credentials | None:
    if not isinstance(result.provider, CredentialsFile | WorkloadIdentityCredentials):
        return None  # a variable of `os.environ` that the caller chose not to pass on
    source = "profile" if isinstance(result.provider, CredentialsFile) else "workload identity"
    provider = _Watched(result.provider)
    extra_headers = {name: _visible(value) for name, value in result.extra_headers.items()}
    cache = TokenCache(provider, time_source=clock)
    return FromSDK(
        source=source, sources=sources, base_url=result.base_url, extra_headers=extra_headers, cache=cache,
        provider=provider,
    )


def _checked(token: AccessToken) -> AccessToken:
    return replace(token, token=_visible(token.token))


def _visible(value: str) -> str:
    """Raises CredentialsError for what cannot go into a header, AttributeError for what is no text."""
    if not sendable(stripped := value.strip()):
        raise CredentialsError("not visible ASCII")
    return stripped


@contextmanager
def _blanks_hidden() -> Iterator[None]:
    """To the SDK a variable of white space is set, and hides what comes after it."""
    blanks = {name: value for name, value in os.environ.items() if name.startswith("ANTHROPIC_") and value.isspace()}
    for name in blanks:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(blanks)
