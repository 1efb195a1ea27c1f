"""Every setting: its flag, its variable, its bounds and its help, none of which a new one can miss."""
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from aioapp.settings import SettingError, Settings, flag_of, from_command_line, from_environ, parser, variable_of

ROWS = {row.name: row for row in fields(Settings)}
FLAGS = [name for name, row in ROWS.items() if row.metadata["flag"]]

GOOD: dict[str, tuple[str, object]] = {
    "config": ("/dev/null", "/dev/null"),
    "host": ("::1", "::1"),
    "port": ("0", 0),
    "fd": ("3", 3),
    "workers": ("256", 256),
    "worker_timeout": ("2", 2.0),
    "reload": ("yes", True),
    "log_level": ("DEBUG", "debug"),
    "log_format": ("JSON", "json"),
    "access_log": ("off", False),
    "log_probes": ("on", True),
    "cors_origins": ("https://A.example, http://b.example:81", ("https://a.example", "http://b.example:81")),
    "cors_credentials": ("0", False),
    "trusted_proxies": (
        "10.0.0.0/8, ::1,unix, ::ffff:192.0.2.0/120", ("10.0.0.0/8", "::1/128", "unix", "192.0.2.0/24")),
    "model": (" claude-opus-4-7 ", "claude-opus-4-7"),
    "database": ("/var/lib/aioapp/aioapp.db", "/var/lib/aioapp/aioapp.db"),
    "allow_anonymous": ("on", True),
    "requests_per_minute": ("60", 60),
    "tokens_per_minute": ("100000", 100_000),
    "concurrency": ("1", 1),
    "prices": (__file__, Path(__file__).read_text()),
    "keep_requests": ("100", 100),
    "budget": ("0.5", 500_000_000),
    "per": ("Day", "day"),
    "alert_webhook": ("https://hooks.example/in?token=canary", "https://hooks.example/in?token=canary"),
    "alert_webhook_secret": ("whsec_" + "A" * 32, bytes(24)),
    "keep_prompts": ("yes", True),
    "simulate": ("1", True),
    "simulate_pace": ("0", 0.0),
    "shutdown_timeout": ("0.5", 0.5),
    "drain_delay": ("0", 0.0),
    "connect_timeout": ("1e1", 10.0),
    "idle_timeout": ("61", 61.0),
    "total_timeout": ("601", 601.0),
    "first_byte_timeout": ("9", 9.0),
    "head_timeout": ("19", 19.0),
    "body_timeout": ("58", 58.0),
    "keep_alive_timeout": ("74", 74.0),
    "stall_timeout": ("59", 59.0),
    "max_connections": ("9999", 9999),
    "connections": ("1", 1),
    "debug": ("true", True),
    "base_url": ("http://localhost:9/v/", "http://localhost:9/v"),
}
BAD: dict[str, list[str]] = {
    "port": ["-1", "65536", "1.5", "http", "0x10", "9" * 5000],
    "fd": ["-1", "x"],
    "workers": ["0", "257", "two"],
    "worker_timeout": ["1.9", "0", "-1", "nan", "inf", "long"],
    "reload": ["maybe", "2"],
    "log_level": ["loud", "10"],
    "log_format": ["xml"],
    "access_log": ["nope"],
    "log_probes": ["nope"],
    "cors_origins": ["example.com", "https://example.com/", "https://example.com/path", "*.example.com", ","],
    "cors_credentials": ["maybe"],
    "trusted_proxies": ["example.com", "10.0.0.1/8", "0.0.0.0/0", "::/0", "::ffff:0:0/96", "*", ",", "1"],
    "allow_anonymous": ["maybe"],
    "requests_per_minute": ["0", "-1", "many", "1.5"],
    "tokens_per_minute": ["0"],
    "concurrency": ["0"],
    "prices": ["/nonexistent/prices.json", "/"],
    "keep_requests": ["99", "1000001", "many"],
    "budget": ["0", "-1", "1e3", "0.0000000001", "1000000001", "nan", "five"],
    "per": ["year", "week"],
    "alert_webhook": ["hooks.example", "ftp://hooks.example", "https://", "https://a:port", "https://[::1",
                      "https://user:canary@a", "https://a/#canary", "https://a b", "https://a:0", "https://a\nb"],
    "alert_webhook_secret": ["canary", "whsec_", "whsec_canary", "whsec_" + "A" * 28, "whsec_" + "A" * 88 + "AAAA",
                             "whsec_" + "A" * 31 + "!", "A" * 32],
    "keep_prompts": ["maybe"],
    "simulate": ["maybe"],
    "simulate_pace": ["-1", "nan", "inf", "fast"],
    "shutdown_timeout": ["0", "-1", "nan", "inf", "soon"],
    "drain_delay": ["-1", "nan", "inf", "soon"],
    "connect_timeout": ["0"],
    "idle_timeout": ["0"],
    "total_timeout": ["0"],
    "first_byte_timeout": ["0"],
    "head_timeout": ["0", "nan"],
    "body_timeout": ["0"],
    "keep_alive_timeout": ["0"],
    "stall_timeout": ["0"],
    "max_connections": ["0", "many", str(2**20 + 1)],
    "connections": ["0", "many"],
    "debug": ["maybe"],
    "base_url": ["example.com", "ftp://example.com", "http://", "http://:80", "http://[::1", "http://a:99999",
                 "http://a:port", "http://a b", "http://a\nb", "http://a?b=c", "http://a/#b", "http://user:pass@a"],
}
ANYTHING = {"config", "database", "host", "model"}
"""They take any text that is not blank."""


def by_flag(name: str, text: str) -> list[str]:
    """How `text` is said as a flag."""
    flag = flag_of(ROWS[name])
    if isinstance(ROWS[name].default, bool):
        return [flag if GOOD[name][1] else flag.replace("--", "--no-", 1)]
    return [f"{flag}={text}"]


def value(settings: Settings, name: str) -> object:
    return getattr(settings, name)


def test_every_setting_has_an_example_and_bounds_here() -> None:
    assert set(GOOD) == set(ROWS)
    assert set(BAD) | ANYTHING == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_variable_sets_it(name: str) -> None:
    text, meant = GOOD[name]
    assert value(from_environ({variable_of(ROWS[name]): text}), name) == meant


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_sets_it(name: str) -> None:
    text, meant = GOOD[name]
    assert value(from_command_line(by_flag(name, text), {}), name) == meant


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_wins_over_its_variable_which_is_not_even_read(name: str) -> None:
    text, meant = GOOD[name]
    other = BAD.get(name, ["other"])[0]
    assert value(from_command_line(by_flag(name, text), {variable_of(ROWS[name]): other}), name) == meant


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("name", ROWS)
def test_a_blank_variable_counts_as_unset(name: str, blank: str) -> None:
    assert from_environ({variable_of(ROWS[name]): blank}) == Settings()


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts],
                         ids=lambda text: text[:20])
def test_a_bad_value_is_one_line_that_names_its_setting(name: str, text: str) -> None:
    variable, flag = variable_of(ROWS[name]), flag_of(ROWS[name])
    with pytest.raises(SettingError, match=rf"\A{variable}: .* is not .*\Z"):
        from_environ({variable: text})
    if name in FLAGS and not isinstance(ROWS[name].default, bool):
        with pytest.raises(SettingError, match=rf"\A{flag}: .* is not .*\Z"):
            from_command_line([f"{flag}={text}"], {})


@pytest.mark.parametrize("name", sorted(ANYTHING))
def test_a_blank_flag_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"^--{name}: ' ' is not a name$"):
        from_command_line([f"--{name}= "], {})


@pytest.mark.parametrize("name", FLAGS)
def test_help_tells_the_flag_its_variable_and_what_it_is_for(name: str) -> None:
    told = " ".join(parser().format_help().split())
    row: Any = ROWS[name]
    assert f"{flag_of(row)}" in told and f"[{variable_of(row)};" in told
    assert row.metadata["help"] in told


def test_flags_and_variables_are_all_different() -> None:
    assert len({variable_of(row) for row in ROWS.values()}) == len({*map(flag_of, ROWS.values())}) == len(ROWS)


def test_the_defaults_are_the_documented_ones() -> None:
    made = from_command_line([], {})
    assert made == from_environ({}) == Settings()
    assert (made.host, made.port, made.workers, made.reload) == ("127.0.0.1", 8000, 1, False)
    assert (made.log_level, made.access_log, made.cors_origins) == ("info", True, ("*",))
    assert (made.model, made.simulate, made.shutdown_timeout) == ("claude-sonnet-5-5", False, 10.0)


def test_proxies_are_collected_from_repeated_flags_too() -> None:
    made = from_command_line(["--trusted-proxy", "127.0.0.1", "--trusted-proxy=10.0.0.0/8,unix"], {})
    assert made.trusted_proxies == ("127.0.0.1/32", "10.0.0.0/8", "unix")


def test_origins_are_collected_from_repeated_flags() -> None:
    made = from_command_line(["--cors-origin", "https://a.example", "--cors-origin=https://b.example"], {})
    assert made.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize("origins", [[], ["--cors-origin=*"], ["--cors-origin=https://a.example,*"]])
def test_any_origin_with_credentials_is_refused(origins: list[str]) -> None:
    with pytest.raises(SettingError, match="--cors-credentials"):
        from_command_line([*origins, "--cors-credentials"], {})
    assert from_command_line(["--cors-origin=https://a.example", "--cors-credentials"], {}).cors_credentials


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(SettingError) as refused:
        from_environ({"ANTHROPIC_BASE_URL": "https://user:sk-canary@example.com"})
    assert "sk-canary" not in str(refused.value)


@pytest.mark.parametrize("name", ["alert_webhook", "alert_webhook_secret"])
def test_of_where_alerts_go_and_what_signs_them_nothing_is_shown(name: str) -> None:
    for text in BAD[name]:
        with pytest.raises(SettingError) as raised:
            from_environ({variable_of(ROWS[name]): text})
        assert "canary" not in str(raised.value) and variable_of(ROWS[name]) in str(raised.value)
    held = from_environ({variable_of(ROWS[name]): GOOD[name][0]})
    assert "canary" not in repr(held) and "\\x00" not in repr(held)
