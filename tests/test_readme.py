"""The README keeps its word, and what holds for it and for the guide as a whole."""
import re
from configparser import RawConfigParser
from dataclasses import fields

import pytest

from aioapp.settings import Settings, flag_of, variable_of
from tests.documents import DOCUMENTS, EVERYTHING, FOLDER, GUIDE, README, ROOT, Block, fenced, line_of, table
from tests.test_architecture import APART, FLOORS


SERVE = ("python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt -e . && "
         ".venv/bin/python -m aioapp --simulate")
TEST = ("python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt -e '.[test]' && "
        ".venv/bin/python -m pytest")


@pytest.mark.parametrize("command", [SERVE, TEST], ids=["serve", "test"])
def test_each_of_the_two_commands_stands_once_and_on_the_first_screen(command: str) -> None:
    assert README.splitlines().count(command) == 1
    assert command in README.splitlines()[:25]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    taken_from_here = re.search(r"grep -m1 -E '([^']+)' README\.md", run)
    found = re.findall(taken_from_here[1], README, re.MULTILINE) if taken_from_here else [TEST] * run.count(TEST)
    assert found == [TEST]


def test_the_readme_fits_its_reader() -> None:
    assert len(README.splitlines()) <= 250


def test_the_settings_that_it_names_are_those_of_the_server() -> None:
    known = {flag_of(row): variable_of(row) for row in fields(Settings)}
    told = {flag: variable for flag, variable, _ in table("common flag")}
    assert len(told) == 10 and told.items() <= known.items()


def test_nothing_is_claimed_of_the_real_claude_and_no_machine_of_ours_is_named() -> None:
    assert "was not tried against the real Claude" in README
    assert str(ROOT.parent) not in EVERYTHING
    assert not re.search(r"pypi|npmjs|docker\.io|quay\.io", EVERYTHING, re.IGNORECASE)


def anchors_of(text: str) -> set[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links_of(name: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", DOCUMENTS[name], flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    home = ROOT if name == "README" else FOLDER
    for link in links_of(name):
        path, _, anchor = link.partition("#")
        target = home / path if path else home / f"{name}.md"
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target.read_text(encoding="utf-8")), link


def test_every_page_of_the_guide_is_linked_from_its_first_page_and_from_the_readme() -> None:
    every = {f"{name}.md" for name in GUIDE}
    assert {link.partition("#")[0] for link in links_of("index")} == every - {"index.md"}
    assert {link.partition("#")[0] for link in links_of("README")} >= {f"aioapp/pages/guide/{page}" for page in every}


def test_the_picture_in_the_readme_is_small() -> None:
    [picture] = re.findall(r"!\[[^]]+\]\(([^)]+\.png)\)", README)
    assert (ROOT / picture).stat().st_size < 150_000


@pytest.mark.parametrize("block", [block for block in fenced() if block.language in ("sh", "bash")], ids=line_of)
def test_every_line_for_a_shell_is_one_for_zsh_too(block: Block) -> None:
    """Outside of quotes, zsh fails on a pattern that matches no file, and takes `!` and `#` for its own."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", block.code).replace("tests/test_messages_*.py", "")
    assert not re.search(r"[*?!#]|\[|\]", bare)


def test_the_floors_are_those_that_the_architecture_is_held_to() -> None:
    told = [{re.sub(r"/$|\.py$", "", name) for name in rooms.split(", ")} for _, rooms, _ in table("floor")]
    assert told == [*FLOORS, APART]


def test_every_extra_that_the_readme_names_can_be_installed() -> None:
    setup = RawConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(re.findall(r"'\.\[(\w+)\]'", EVERYTHING)) <= set(setup["options.extras_require"])
