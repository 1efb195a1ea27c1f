"""Where the credentials for Claude come from. The first that holds something is used:

    ANTHROPIC_API_KEY          a key of the Claude Console
    ANTHROPIC_AUTH_TOKEN       a bearer token, as gateways hand them out
    profile, workload identity what the SDK finds: ANTHROPIC_PROFILE, then the federation variables,
                               then the active profile on disk
    CLAUDE_CODE_OAUTH_TOKEN    a long-lived token of `claude setup-token`
    Claude Code login          its file, read only, and only while the server is bound to loopback

A source that was chosen but is broken is reported, never passed over for a later one.
"""
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from aioapp.credentials.claude_code import LoginFile, login_path
from aioapp.credentials.discovery import present
from aioapp.credentials.protocol import Credentials, Kind, Sources, Status, close
from aioapp.credentials.static import Unusable, fixed, from_environment

__all__ = ["Credentials", "Kind", "Status", "close", "find_credentials", "fixed"]

_NOTHING = "No credentials were found. Set ANTHROPIC_API_KEY{}."
_ON_LOOPBACK = ", or run `claude` and log in"
_ELSEWHERE = "; a Claude Code login is used only by a server that is bound to loopback"


def find_credentials(
    environ: Mapping[str, str], *, loopback: bool, home: Path, base_url: str, clock: Callable[[], float] = time.time,
) -> Credentials:
    """The credentials to use until the process ends; without any, ones whose `status` says what to do.

    `loopback` allows Claude Code's login, `home` is where that and a profile are looked for, `base_url` is where a
    token exchange goes, and `clock` gives unix seconds. The SDK reads `os.environ` and the process's own home for its
    part, whatever is passed here. Variables that are blank count as unset. Raises nothing.
    """
    values = {name: value.strip() for name, value in environ.items() if value.strip()}
    path = login_path(values, home) if loopback else None
    sources = Sources(present(values, home), path)
    return (
        from_environment(values, sources, "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
        or _from_sdk(sources, base_url=base_url, clock=clock)
        or from_environment(values, sources, "CLAUDE_CODE_OAUTH_TOKEN")
        or _from_login(path, sources=sources, clock=clock)
    )


def _from_sdk(sources: Sources, *, base_url: str, clock: Callable[[], float]) -> Credentials | None:
    wanted = next((name for name in sources.found if name in ("profile", "workload identity")), None)
    if wanted is None:
        return None
    from aioapp.credentials.sdk import from_sdk  # costs seconds, so only where there is something for it to find
    return from_sdk(wanted, sources=sources, base_url=base_url, clock=clock)


def _from_login(path: Path | None, *, sources: Sources, clock: Callable[[], float]) -> Credentials:
    if path is None:
        return Unusable(kind=None, source=None, problem=_NOTHING.format(_ELSEWHERE), sources=sources)
    return LoginFile(path=path, missing=_NOTHING.format(_ON_LOOPBACK), sources=sources, clock=clock)
