"""The login that Claude Code keeps on this machine.

Its refresh token rotates: whoever refreshes it logs Claude Code out. So the file is read and never written, no token
is ever renewed here, and a new one is found by looking again when the file has changed, when its token is about to
expire, and after a refusal.
"""
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from aioapp.credentials.protocol import LOGIN, REFUSED, UNSENDABLE, Sources, Status, bearer, moment, sendable
from aioapp.errors import NotInitialized

NEAR_EXPIRY: Final = 120  # seconds
EXPIRED: Final = "The Claude Code login has expired: run `claude` and log in."
UNREADABLE: Final = "The Claude Code login could not be read: its file is not accessible."
MALFORMED: Final = "The Claude Code login could not be read: its file does not hold what was expected."


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What the file held: a token, or the `problem` with it."""

    token: str = field(default="", repr=False)
    expires_at: datetime | None = None
    problem: str | None = None


@dataclass(slots=True)
class _Memory:
    login: Login | None = None
    stamp: tuple[int, int, int] | None = None  # of the file that `login` was read from
    refused: str | None = field(default=None, repr=False)  # the token


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFile:
    """Claude Code's login, as it is now: a person may log in, or out, while the server runs.

    `missing` is what to say when nobody is logged in; `clock` gives unix seconds.
    """

    path: Path = field(repr=False)
    missing: str
    sources: Sources = field(repr=False)
    clock: Callable[[], float]
    base_url: None = None
    _memory: _Memory = field(default_factory=_Memory)

    def status(self) -> Status:
        login, available = self._look(), self.sources.now()
        if login is None:
            return Status(kind=None, source=None, available=available, expires_at=None, error=self.missing)
        refused = REFUSED if login.token == self._memory.refused else None
        error = self._problem(login) or refused
        return Status(
            kind="oauth_token", source=LOGIN, available=available, expires_at=login.expires_at, error=error,
        )

    async def headers(self) -> Mapping[str, str]:
        login = self._look()
        if login is None:
            raise NotInitialized(self.missing)
        if problem := self._problem(login):
            raise NotInitialized(problem)
        return bearer(login.token, oauth=True)

    def refused(self, headers: Mapping[str, str]) -> bool:
        self._memory.stamp = None
        login = self._look()
        if login is None or self._problem(login):
            return False
        if bearer(login.token, oauth=True)["Authorization"] != headers.get("Authorization"):
            return True
        self._memory.refused = login.token
        return False

    def accepted(self) -> None:
        self._memory.refused = None

    def _look(self) -> Login | None:
        memory, stamp = self._memory, _stamp(self.path)
        if stamp != memory.stamp or self._is_unsettled(memory.login):
            # The stamp is the older of the two, so a change in between is seen the next time.
            memory.login, memory.stamp = read(self.path), stamp
        return memory.login

    def _is_unsettled(self, login: Login | None) -> bool:
        """A file that is being written can keep its stamp, so only a good login is kept without another look."""
        return login is None or login.problem is not None or self._seconds_left(login) < NEAR_EXPIRY

    def _problem(self, login: Login) -> str | None:
        return login.problem or (EXPIRED if self._seconds_left(login) <= 0 else None)

    def _seconds_left(self, login: Login) -> float:
        return login.expires_at.timestamp() - self.clock() if login.expires_at else float("inf")


def login_path(values: Mapping[str, str], home: Path) -> Path:
    """Where Claude Code keeps its login. `values` is the environment without blank variables."""
    return Path(values.get("CLAUDE_CONFIG_DIR") or home / ".claude") / ".credentials.json"


def read(path: Path) -> Login | None:
    """The login in the file, None if there is no file or nobody is logged in."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
            return Login(problem=UNREADABLE)
        return _parsed(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Login(problem=UNREADABLE)


def _parsed(raw: bytes) -> Login | None:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return Login(problem=MALFORMED)
    match document:
        case {"claudeAiOauth": {"accessToken": str(token), **rest}}:
            return _login(token.strip(), rest.get("expiresAt"))
        case {"claudeAiOauth": value} if value is not None:
            return Login(problem=MALFORMED)
        case dict():
            return None  # Claude Code keeps other things in this file too
        case _:
            return Login(problem=MALFORMED)


def _login(token: str, milliseconds: Any) -> Login | None:
    match milliseconds:
        case bool():
            return Login(problem=MALFORMED)
        case None | int() | float():
            expires_at = moment(milliseconds, per_second=1000)
        case _:
            return Login(problem=MALFORMED)
    if not token:
        return None
    if not sendable(token):
        return Login(problem=UNSENDABLE.format(f"The {LOGIN}"))
    return Login(token=token, expires_at=expires_at)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        now = os.stat(path)
    except OSError:
        return None
    return now.st_mtime_ns, now.st_size, now.st_ino
