"""Where the database lies."""
import sys
from pathlib import Path

import pytest

from aioapp.settings.location import database_path

HOME = {"HOME": "/home/ada"}
DEFAULT = Path("/home/ada/.local/state/aioapp/aioapp.db")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has folders of its own")
@pytest.mark.parametrize(("given", "environ", "path"), [
    (None, {}, DEFAULT),
    ("  ", {"API_DATABASE": " ", "XDG_STATE_HOME": ""}, DEFAULT),
    (None, {"XDG_STATE_HOME": "/var/state"}, Path("/var/state/aioapp/aioapp.db")),
    (None, {"XDG_STATE_HOME": "relative"}, DEFAULT),
    (None, {"XDG_STATE_HOME": "/var/state", "API_DATABASE": " data/keys.db "}, Path("data/keys.db")),
    ("named.db", {"XDG_STATE_HOME": "/var/state", "API_DATABASE": "keys.db"}, Path("named.db")),
])
def test_a_flag_wins_over_a_variable_and_that_over_the_users_folder(
        given: str | None, environ: dict[str, str], path: Path) -> None:
    assert database_path(given, HOME | environ) == path


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_without_a_home_in_the_environment_it_is_the_users_own(home: dict[str, str]) -> None:
    assert Path.home() in database_path(None, home).parents
