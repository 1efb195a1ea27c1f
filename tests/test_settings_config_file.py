"""A file of settings: what is taken from it, what wins over it, and the one line that says what is wrong with it."""
from collections.abc import Mapping
from pathlib import Path

import pytest

from aioapp.settings import ROWS, SettingError, Settings, flag_of, from_command_line, from_environ, log_format
from aioapp.settings.config_file import is_exposed
from tests.keyed import database
from tests.processes import AIOAPP, NOTHING, serving, started
from tests.test_settings import FLAGS, GOOD

FILE = """\
# How we run it.
[aioapp]
port = 8123
model = claude-opus-4-7
simulate = yes
cors-origin = https://a.example
    https://b.example:81
trusted-proxy = 10.0.0.0/8, unix

; nothing here
database =
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "aioapp.ini"


def made(config: Path, text: str, *flags: str, environ: Mapping[str, str] = NOTHING) -> Settings:
    config.write_text(text)
    return from_command_line(["--config", str(config), *flags], environ)


@pytest.mark.parametrize("text", [FILE, FILE.replace("[aioapp]\n", ""), "\ufeff" + FILE, FILE.replace("\n", "\r\n")])
def test_a_file_sets_what_it_names_with_its_sections_header_or_without(config: Path, text: str) -> None:
    assert made(config, text) == Settings(
        config=str(config), port=8123, model="claude-opus-4-7", simulate=True,
        cors_origins=("https://a.example", "https://b.example:81"), trusted_proxies=("10.0.0.0/8", "unix"))


@pytest.mark.parametrize("name", [name for name in FLAGS if name != "config"])
def test_a_file_sets_every_flag_by_its_name(config: Path, name: str) -> None:
    text, meant = GOOD[name]
    assert getattr(made(config, f"{flag_of(ROWS[name]).removeprefix('--')} = {text}\n"), name) == meant


def test_flags_win_over_variables_and_variables_over_the_file_whose_entry_is_not_even_read(config: Path) -> None:
    assert made(config, "port = 1\nworkers = many\nmodel = b", "--port", "3", environ={
        "API_PORT": "2", "API_WORKERS": "2"}) == Settings(config=str(config), port=3, workers=2, model="b")


def test_a_variable_names_the_file_too(config: Path) -> None:
    config.write_text("port = 8123")
    assert from_environ({"API_CONFIG": str(config)}).port == 8123
    assert from_command_line([], {"API_CONFIG": str(config), "API_PORT": "1"}).port == 1


def test_a_percent_sign_and_a_colon_are_text(config: Path) -> None:
    assert made(config, "model = %(a)s:100%").model == "%(a)s:100%"


WRONG = {
    "prot = 1": "'prot' is not a setting; they have the names of the flags, such as port",
    "no-reload = yes": "'no-reload' is not a setting",
    "base-url = http://a": "'base-url' is not a setting",
    "config = x": "'config' is not a setting",
    "Port = 1": "'Port' is not a setting",
    "port = many": "port: 'many' is not a whole number from 0 to 65535",
    "port = 1\n  2": "port: '1,2' is not a whole number",
    "simulate": "simulate has no value; write simulate = …",
    "port = 1\nport = 2": "port stands there twice",
    "[aioapp]\nport = 1\n[aioapp]\n": "a section stands there twice; there is only [aioapp]",
    "[other]\nport = 1": "[other] is not known; there is only [aioapp]",
    "port = 1\n\n= canary": "line 3 is not like: name = value",
    "[aioapp]\n\n= canary": "line 3 is not like: name = value",
    "[aioapp\nport = 1": "line 1 is not like: name = value",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it_and_the_entry(config: Path, text: str) -> None:
    with pytest.raises(SettingError) as refused:
        made(config, text)
    assert str(refused.value).startswith(f"--config: {config}: {WRONG[text]}")
    assert "\n" not in str(refused.value) and "canary" not in str(refused.value)


@pytest.mark.parametrize(("content", "why"), [
    (None, "No such file or directory"), (b"port = \xff", "it is no text in UTF-8")])
def test_a_file_that_cannot_be_read_is_named(config: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(SettingError, match=rf"\A--config: {config} cannot be read: {why}\Z"):
        from_command_line(["--config", str(config)], {})


@pytest.mark.parametrize(("text", "mode", "exposed"), [
    ("port = 1", 0o644, False), ("alert-webhook-secret = x", 0o600, False), ("alert-webhook-secret = x", 0o640, True),
    ("alert-webhook-secret = x", 0o604, True)])
def test_a_secret_that_others_may_read_is_seen(config: Path, text: str, mode: int, exposed: bool) -> None:
    config.write_text(text)
    config.chmod(mode)
    assert is_exposed(str(config)) == exposed


@pytest.mark.parametrize(("flags", "environ", "text", "form"), [
    ([], {}, "", "text"), (["--log-format", "JSON", "--prot"], {}, "", "json"), (["--log-format=json"], {}, "", "json"),
    ([], {"API_LOG_FORMAT": "json", "API_PORT": "x"}, "", "json"), ([], {}, "log-format = json\nport = x", "json"),
    (["--log-format", "text"], {"API_LOG_FORMAT": "json"}, "", "text"), (["--log-format"], {}, "", "text"),
    ([], {"API_LOG_FORMAT": "json"}, "nonsense = 1", "json"), (["--log-format", "xml"], {}, "", "xml")])
def test_the_form_of_the_log_is_known_where_other_settings_are_wrong(
        config: Path, flags: list[str], environ: dict[str, str], text: str, form: str) -> None:
    config.write_text(text)
    assert log_format([*flags, "--config", str(config)] if flags != ["--log-format"] else flags, environ) == form


async def test_the_server_and_the_commands_beside_it_take_the_database_of_the_file(config: Path) -> None:
    kept = config.with_name("kept.db")
    config.write_text(f"database = {kept}\nsimulate = on\n")
    command = ("-m", "aioapp", "keys", "create", "web", "--config", str(config))
    async with started(command=(AIOAPP[0], *command)) as keys:
        assert await keys.ended() == 0
    async with started(command=(AIOAPP[0], "-m", "aioapp", "keys", "list"), env={"API_CONFIG": str(config)}) as keys:
        assert await keys.ended() == 0
    assert "web" in keys.out and kept.exists() and not database().exists()
    async with serving("--config", str(config)) as server:
        await server.says("Keys: 1 lets callers in")
        assert await server.end() == 0
    async with started(command=(AIOAPP[0], *command[:-1], "/nonexistent")) as keys:
        assert await keys.ended() == 2
    assert keys.err == "aioapp: --config: /nonexistent cannot be read: No such file or directory\n"
