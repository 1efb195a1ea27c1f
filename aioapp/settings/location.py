"""Where the database lies, for the server and the command line alike."""
import sys
from collections.abc import Mapping
from pathlib import Path


def database_path(given: str | None, environ: Mapping[str, str]) -> Path:
    """The file that is `given`, else that `API_DATABASE` names, else one in the user's folder for state.

    That folder is the XDG Base Directory Specification's, by which a relative path in its variable counts for nothing.
    Variables that are blank count as unset.
    """
    named = (given or "").strip() or environ.get("API_DATABASE", "").strip()
    return Path(named) if named else state_folder(environ) / "aioapp" / "aioapp.db"


def state_folder(environ: Mapping[str, str]) -> Path:
    if sys.platform == "win32":
        return absolute(environ.get("LOCALAPPDATA")) or Path.home() / "AppData" / "Local"
    home = absolute(environ.get("HOME")) or Path.home()
    return absolute(environ.get("XDG_STATE_HOME")) or home / ".local" / "state"


def absolute(text: str | None) -> Path | None:
    return Path(text) if text and Path(text).is_absolute() else None
