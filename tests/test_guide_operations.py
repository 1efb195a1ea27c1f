"""What the guide says to operators is true: every metric and check is told, and the backup line makes a backup."""
import re
import shlex
import sys
from dataclasses import fields
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from aioapp.endpoints.health import ChecksAnswer
from aioapp.messages.billing import Usage
from aioapp.settings import Settings, flag_of, variable_of
from aioapp.telemetry.metrics import Metrics
from tests.conftest import Serve
from tests.generations import ended
from tests.keyed import database, make_key
from tests.documents import PAGES, aioapp, blocks, output_of, table

[OPERATIONS] = [path.read_text(encoding="utf-8") for path in PAGES if path.stem == "operations"]


def counted() -> dict[str, set[str]]:
    """The metrics of a process that has done a little of everything, each with its labels."""
    metrics = Metrics()
    metrics.request(method="GET", path="/health", status=200, seconds=0.1)
    metrics.generation(ended(usage=Usage(1, 1, 1, 1), nanodollars=1), model="claude-*")
    metrics.overhead(0.1)
    metrics.key_refused("web", "budget")
    families = text_string_to_metric_families(metrics.render().decode())
    return {f"{family.name}{'_total' if family.type == 'counter' else ''}":
            {label for sample in family.samples for label in sample.labels} - {"le"} for family in families}


def test_every_metric_is_told_and_each_that_is_counted_with_its_labels() -> None:
    held, told = counted(), {name: set() if labels == "none" else set(labels.split(", "))
                             for name, labels, _ in table("counted")}
    assert {name: held.get(name) for name in told} == told
    part = OPERATIONS.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    assert set(held) <= set(re.findall(r"aioapp_\w+", part))


def test_every_check_of_health_is_told() -> None:
    assert {row[0] for row in table("check")} == set(ChecksAnswer().fields)


def test_the_settings_that_the_readme_names_are_those_of_the_server() -> None:
    known = {flag_of(row): variable_of(row) for row in fields(Settings)}
    told = {flag: variable for flag, variable, _ in table("common flag")}
    assert len(told) == 10 and told.items() <= known.items()


def test_every_line_for_a_shell_is_one_for_zsh_too() -> None:
    """Outside of quotes, zsh fails on a pattern that matches no file, and takes `!` and `#` for its own."""
    for block in blocks("sh") + blocks("bash"):
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", block.code).replace("tests/test_messages_*.py", "")
        assert not re.search(r"[*?!#]|\[|\]", bare), block.code


async def test_the_line_that_makes_a_backup_copies_a_database_in_use(serve: Serve, tmp_path: Path) -> None:
    secret = make_key("web")
    await serve()
    [block] = blocks("sh", where=lambda block: "backup.db" in block.code)
    program, *arguments, of, to = shlex.split(block.code)
    assert (program, of, to) == (".venv/bin/python", "aioapp.db", "backup.db")
    await output_of(sys.executable, *arguments, database(), tmp_path / to)
    assert "web" in await aioapp(f".venv/bin/aioapp keys list --database {shlex.quote(str(tmp_path / to))}")
    assert secret.encode() not in (tmp_path / to).read_bytes()
