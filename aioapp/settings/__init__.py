"""Everything that can be set, in one table: field, flag, variable, default, bounds and help stand in one place each.

Flags win over variables, and variables over a file; an empty variable counts as unset. Who else looks at the
environment: `auth`, for credentials, and `upstream.session`, for proxies.
"""
import argparse
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, fields
from io import StringIO
from typing import Any, cast

from aioapp import __version__
from aioapp.settings.config_file import entries
from aioapp.settings.parsing import (
    Parse, at_least, content, name, networks, one_of, origins, pace, seconds, switch, url, whole,
)

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS = ("text", "json")
LIFELINE = "AIOAPP_LIFELINE"
"""The variable by which a worker knows that it is one, and what ties it to its supervisor."""
COUNT = whole(1, 10**9)
REPEATED = {"cors_origins": "--cors-origin", "trusted_proxies": "--trusted-proxy"}
"""The flags of settings that hold several values: each flag gives one, or some with commas between them."""


class SettingError(ValueError):
    """A value that cannot be used. Its text is one line that names the setting and says what it takes."""


def setting(default: object, parse: Parse, *, help: str, variable: str | None = None, flag: bool = True) -> Any:
    """One row of the table. `variable` is given where it is not `API_` and the field's name."""
    return field(default=default, metadata={"parse": parse, "help": help, "variable": variable, "flag": flag})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    config: str | None = setting(None, name, help="INI file with settings, by the names of the flags")
    host: str = setting("127.0.0.1", name, help="address to listen on")
    port: int = setting(8000, whole(0, 65535), help="port to listen on; 0 takes any free one")
    fd: int | None = setting(None, whole(0, 2**20), help="listen on this inherited socket instead of host and port")
    workers: int = setting(1, whole(1, 256), help="number of processes that share the listening socket")
    worker_timeout: float = setting(
        30.0, at_least(2), help="seconds without a sign of life after which a worker is killed and replaced")
    reload: bool = setting(False, switch, help="start again when a source file changes (needs watchfiles)")
    log_level: str = setting("info", one_of(LOG_LEVELS), help="least level that is logged")
    log_format: str = setting("text", one_of(LOG_FORMATS), help="form of a line in the log: text or json")
    access_log: bool = setting(True, switch, help="log one line for each request")
    log_probes: bool = setting(False, switch, help="log requests for /health and below as any other, not at debug")
    cors_origins: tuple[str, ...] = setting(("*",), origins, help="origin whose pages may call; * for any (repeatable)")
    cors_credentials: bool = setting(False, switch, help="let those pages send cookies; not with *")
    trusted_proxies: tuple[str, ...] = setting(
        (), networks, help="network, or unix, whose proxies are believed who calls (repeatable)")
    model: str = setting("claude-sonnet-5-5", name, help="model that answers where a request names none")
    database: str | None = setting(None, name, help="file with keys and usage; in the user's state folder by default")
    allow_anonymous: bool = setting(False, switch, help="without keys, serve callers from anywhere, not only from here")
    requests_per_minute: int | None = setting(None, COUNT, help="requests a minute, for each address, without keys")
    tokens_per_minute: int | None = setting(None, COUNT, help="tokens a minute, for each address, without keys")
    concurrency: int | None = setting(None, COUNT, help="generations at once, for each address, without keys")
    prices: str | None = setting(None, content, help="JSON file with dollars a million tokens, by pattern of models")
    keep_requests: int = setting(
        10_000, whole(100, 10**6), help="generations that administrators can look at one by one")
    keep_prompts: bool = setting(False, switch, help="keep the prompts of the latest requests for administrators")
    simulate: bool = setting(False, switch, help="answer from a local simulator: no key, no network, no cost")
    simulate_pace: float = setting(1.0, pace, help="pace of the simulator; 0 answers at once")
    shutdown_timeout: float = setting(10.0, seconds, help="seconds that running generations get when the server stops")
    drain_delay: float = setting(
        0.0, at_least(0), help="seconds for which only /health tells that the server stops, before work is refused")
    connect_timeout: float = setting(10.0, seconds, help="seconds to connect to Claude")
    idle_timeout: float = setting(60.0, seconds, help="seconds of silence between two reads of a streamed answer")
    total_timeout: float = setting(600.0, seconds, help="seconds that one generation may take, retries included")
    first_byte_timeout: float = setting(10.0, seconds, help="seconds that a new connection may say nothing")
    head_timeout: float = setting(20.0, seconds, help="seconds that a request's headers may take to arrive")
    body_timeout: float = setting(60.0, seconds, help="seconds that a request's body may take to arrive")
    keep_alive_timeout: float = setting(75.0, seconds, help="seconds that a connection is kept between two requests")
    stall_timeout: float = setting(60.0, seconds, help="seconds after which a caller who takes nothing is hung up on")
    max_connections: int = setting(10_000, whole(1, 2**20), help="most connections of callers to a process at once")
    connections: int = setting(4096, whole(1, 2**20), help="most connections to Claude at once")
    debug: bool = setting(False, switch, help="name internals in the answer to a fault of ours")
    base_url: str | None = setting(
        None, url, help="where the Messages API is", variable="ANTHROPIC_BASE_URL", flag=False)

    def __post_init__(self) -> None:
        if self.cors_credentials and "*" in self.cors_origins:
            raise SettingError("--cors-credentials: needs --cors-origin with the origins by name, not *")

    @property
    def supervised(self) -> bool:
        """Whether this process only keeps the ones that serve."""
        return self.workers > 1 or self.reload


ROWS = {row.name: row for row in fields(Settings)}


def flag_of(row: Any) -> str:
    return REPEATED.get(row.name) or "--" + row.name.replace("_", "-")


def variable_of(row: Any) -> str:
    return cast(str, row.metadata["variable"]) or "API_" + row.name.upper()


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
        said = "this" if "@" in text else repr(text)  # before an @ stands a password
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
