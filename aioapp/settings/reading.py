"""Where settings are said: in flags, in variables and in a file, of which the first that says one wins."""
import argparse
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from typing import Any, cast

from aioapp import __version__
from aioapp.settings.config_file import entries
from aioapp.settings.table import ROWS, SettingError, Settings, flag_of, variable_of


def from_environ(environ: Mapping[str, str]) -> Settings:
    """The settings that the environment makes, and the file that it names. Raises `SettingError`."""
    return made({}, environ)


def from_command_line(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """The settings that flags, environment and file make. Raises `SettingError`; `--help` and `--version` exit."""
    given = {key: value for key, value in vars(read_flags(argv)).items() if value is not None}
    return made({key: parsed(ROWS[key], ",".join(value) if isinstance(value, list) else value, named=flag_of(ROWS[key]))
                 for key, value in given.items()}, environ)


def made(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    found = {**read_environ(environ, without=flags), **flags}
    return Settings(**{**read_file(found.get("config"), without=found), **found})


def read_flags(argv: Sequence[str]) -> argparse.Namespace:
    try:
        with redirect_stderr(StringIO()) as said:
            return parser().parse_args(argv)
    except SystemExit as end:
        if end.code:
            raise SettingError(said.getvalue().strip().removeprefix("aioapp: error: ")) from None
        raise


def read_environ(environ: Mapping[str, str], *, without: Collection[str]) -> dict[str, Any]:
    rows = [row for row in ROWS.values() if environ.get(variable_of(row), "").strip() and row.name not in without]
    return {row.name: parsed(row, environ[variable_of(row)], named=variable_of(row)) for row in rows}


def read_file(path: str | None, *, without: Collection[str]) -> dict[str, Any]:
    names = {flag_of(row).removeprefix("--"): row for row in ROWS.values()
             if row.metadata["flag"] and row.name != "config"}
    try:
        found = entries(path, known=names) if path else {}
    except ValueError as error:
        raise SettingError(f"--config: {error}") from None
    return {names[name].name: parsed(names[name], text, named=f"--config: {path}: {name}")
            for name, text in found.items() if names[name].name not in without}


def alone(name: str, flags: Mapping[str, Any], *, environ: Mapping[str, str]) -> Any:
    """What one setting is, whatever the others are; None where nothing says."""
    others = ROWS.keys() - {name, "config"}
    found = {**read_environ(environ, without=others), **flags}
    return {**read_file(found.get("config"), without=others), **found}.get(name)


def database_of(config: str | None, environ: Mapping[str, str]) -> str | None:
    """The database that variables or the file name, for commands beside the server. Raises `SettingError`."""
    return cast(str | None, alone("database", {"config": config} if config else {}, environ=environ))


def log_format(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """The form of the log where the settings cannot be used, as far as it can be told: a line says why not."""
    try:
        only = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        for row in (ROWS["log_format"], ROWS["config"]):
            only.add_argument(flag_of(row))
        flags = {key: value for key, value in vars(only.parse_known_args(argv)[0]).items() if value}
        return str(alone("log_format", flags, environ=environ) or "text").lower()
    except (argparse.ArgumentError, SettingError):
        return environ.get("API_LOG_FORMAT", "text").lower()


def parsed(row: Any, text: object, *, named: str) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return row.metadata["parse"](text)
    except ValueError as error:
        # Before an @ stands a password.
        said = "this" if "@" in text or row.metadata["private"] else repr(text)
        raise SettingError(f"{named}: {said} is not {error}") from None


def parser() -> argparse.ArgumentParser:
    """Reads flags as text: what they mean is `Settings`'s business, so that variables are held to the same bounds."""
    flags = argparse.ArgumentParser(
        prog="aioapp", usage=argparse.SUPPRESS, allow_abbrev=False,
        description="Serve Claude over HTTP. Every flag has a variable, and a name in --config; flags win.",
        epilog="Callers' keys are made, listed and ended with: aioapp keys --help. How fast it is: aioapp bench --help")
    flags.add_argument("--version", action="version", version=f"aioapp {__version__}")
    for row in ROWS.values():
        if row.metadata["flag"]:
            flags.add_argument(flag_of(row), dest=row.name, **shape(row))
    return flags


def shape(row: Any) -> dict[str, Any]:
    default = ",".join(row.default) or None if isinstance(row.default, tuple) else row.default
    text = f"{row.metadata['help']} [{variable_of(row)}; {default}]"
    if isinstance(row.default, bool):
        return {"action": argparse.BooleanOptionalAction, "default": None, "help": text}
    return {"action": "append" if isinstance(row.default, tuple) else "store", "help": text}
