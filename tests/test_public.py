"""What programs of others may import, and for how long what they imported before goes on working."""
import subprocess
import sys

import pytest

import aioapp
from aioapp import extend
from aioapp.cli.serve import main
from aioapp.web.context import CALLER

PUBLIC = [
    "ASK_ERRORS", "CALLER", "OPERATIONS", "Answer", "Body", "Endpoint", "Handler", "Operation", "Options", "Reply",
    "ReplyStream", "Settings", "TextPrompt", "Turn", "ask", "ask_stream", "create_app", "errors", "fields",
    "from_environ", "json_response", "main", "prompt_of", "read_body", "read_query", "runner_of", "set_access",
]


def test_the_public_names_are_these() -> None:
    assert aioapp.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_can_be_imported(name: str) -> None:
    assert getattr(aioapp, name) is not None


def test_public_names_are_what_the_rooms_define() -> None:
    assert (aioapp.main, aioapp.CALLER) == (main, CALLER)


def test_importing_the_package_loads_nothing_of_it() -> None:
    program = "import sys, aioapp; print(*[name for name in sys.modules if name.startswith(('aioapp', 'aiohttp'))])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == ["aioapp"]


@pytest.mark.parametrize("name", extend.__all__)
def test_an_old_name_still_works_and_says_the_new_one(name: str) -> None:
    new = {"CLIENT": "CALLER", "Prompt": "TextPrompt"}.get(name, name)
    with pytest.warns(DeprecationWarning, match=f"aioapp.extend.{name} is aioapp.{new} now"):
        assert getattr(extend, name) is getattr(aioapp, new)


@pytest.mark.parametrize("module", [aioapp, extend])
def test_a_name_that_there_is_not_is_no_name(module: object) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(module, "nonsense")


def test_the_package_says_what_it_is_in_a_line_for_callers_see_it() -> None:
    assert aioapp.__doc__ == "Claude behind HTTP: REST, server-sent events and a native WebSocket, on aiohttp."
