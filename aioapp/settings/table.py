"""Everything that can be set, in one table: field, flag, variable, default, bounds and help stand in one place each.

Flags win over variables, and variables over a file; an empty variable counts as unset. Who else looks at the
environment: `auth`, for credentials, and `upstream.session`, for proxies.
"""
from dataclasses import dataclass, field, fields
from typing import Any, cast

from aioapp.callers import Budget, Period
from aioapp.settings.parsing import (
    Parse, at_least, content, name, networks, one_of, origins, pace, seconds, secret, switch, url, usd, webhook, whole,
)

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS = ("text", "json")
PERIODS = ("day", "month")
LIFELINE = "AIOAPP_LIFELINE"
"""The variable by which a worker knows that it is one, and what ties it to its supervisor."""
COUNT = whole(1, 10**9)
REPEATED = {"cors_origins": "--cors-origin", "trusted_proxies": "--trusted-proxy"}
"""The flags of settings that hold several values: each flag gives one, or some with commas between them."""


class SettingError(ValueError):
    """A value that cannot be used. Its text is one line that names the setting and says what it takes."""


def setting(
        default: object, parse: Parse, *, help: str, variable: str | None = None, flag: bool = True,
        private: bool = False) -> Any:
    """One row of the table. `variable` is given where it is not `API_` and the field's name.

    Of what is `private` no part is shown, not even where it cannot be used.
    """
    return field(default=default, repr=not private, metadata={
        "parse": parse, "help": help, "variable": variable, "flag": flag, "private": private})


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
    budget: int | None = setting(None, usd, help="dollars that all callers together may spend, with --per")
    per: Period = setting("month", one_of(PERIODS), help="what that budget is for, in UTC: day or month",
                          variable="API_BUDGET_PER")
    alert_webhook: str | None = setting(
        None, webhook, help="URL that is told of budgets, credentials and the database", private=True)
    alert_webhook_secret: bytes | None = setting(
        None, secret, help="whsec_ and base64: signs what is sent there (better in the variable)", private=True)
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
    def server_budget(self) -> Budget | None:
        """What all callers together may spend."""
        return None if self.budget is None else Budget(nanodollars=self.budget, per=self.per)

    @property
    def supervised(self) -> bool:
        """Whether this process only keeps the ones that serve."""
        return self.workers > 1 or self.reload


ROWS = {row.name: row for row in fields(Settings)}


def flag_of(row: Any) -> str:
    return REPEATED.get(row.name) or "--" + row.name.replace("_", "-")


def variable_of(row: Any) -> str:
    return cast(str, row.metadata["variable"]) or "API_" + row.name.upper()
