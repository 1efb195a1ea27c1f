"""A cheap look at what is there, without the SDK, whose import costs seconds."""
import os.path
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_FEDERATION = ("ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_ORGANIZATION_ID")
_IDENTITY = ("ANTHROPIC_IDENTITY_TOKEN_FILE", "ANTHROPIC_IDENTITY_TOKEN")


def present(values: Mapping[str, str], home: Path) -> tuple[str, ...]:
    """The sources that seem to hold something, in the order of use; Claude Code's login is not among them.

    `values` is the environment without blank variables.
    """
    return (
        *_set(values, "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
        *_for_the_sdk(values, home),
        *_set(values, "CLAUDE_CODE_OAUTH_TOKEN"),
    )


def _set(values: Mapping[str, str], *names: str) -> Iterator[str]:
    return (name for name in names if name in values)


def _for_the_sdk(values: Mapping[str, str], home: Path) -> Iterator[str]:
    # The order of anthropic.lib.credentials.default_credentials: a profile by name, federation, a profile on disk.
    named = "ANTHROPIC_PROFILE" in values
    if named:
        yield "profile"
    if all(name in values for name in _FEDERATION) and any(name in values for name in _IDENTITY):
        yield "workload identity"
    if not named and _has_active_profile(values, home):
        yield "profile"


def _has_active_profile(values: Mapping[str, str], home: Path) -> bool:
    if "ANTHROPIC_CONFIG_DIR" in values:
        return True  # whoever sets it means it, so the SDK complains about what is missing there
    folder = _config_dir(values, home)
    return any(os.path.isfile(folder / name) for name in ("active_config", "configs/default.json"))


def _config_dir(values: Mapping[str, str], home: Path) -> Path:
    if sys.platform == "win32":
        return Path(values.get("APPDATA") or home / "AppData" / "Roaming") / "Anthropic"
    return home / ".config" / "anthropic"
