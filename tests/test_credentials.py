"""Where the credentials for Claude come from: real files, the real SDK, and a token endpoint on loopback."""
import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from aioapp.credentials import Credentials, close, find_credentials, fixed
from aioapp.credentials.discovery import present
from aioapp.errors import AppError, CredentialsRefused, NotInitialized

NOW = 1_800_000_000  # unix seconds
BETA = {"anthropic-beta": "oauth-2025-04-20"}
CANARY = "canary-0123456789-canary"
OTHERS = {"mcpOAuth": {"server": {"accessToken": "none of ours"}}}


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    """A machine with one user: finds credentials on it, and closes what it found."""

    home: Path
    clock: Clock = field(default_factory=Clock)
    found: list[Credentials] = field(default_factory=list)

    def find(
        self, environ: Mapping[str, str] | None = None, *, loopback: bool = True, base_url: str = "http://127.0.0.1:9",
    ) -> Credentials:
        """`environ` is what is passed besides the process's own, cleaned environment."""
        seen = {**os.environ, **(environ or {})}
        found = find_credentials(seen, loopback=loopback, home=self.home, base_url=base_url, clock=self.clock)
        self.found.append(found)
        return found

    @property
    def login_file(self) -> Path:
        return self.home / ".claude" / ".credentials.json"

    def log_in(self, token: str = "login-1", *, seconds: float | None = 3600, at: int = 1, **others: Any) -> None:
        """Writes Claude Code's file as Claude Code does; `at` is its mtime in seconds."""
        entry: dict[str, Any] = {"accessToken": token, "refreshToken": "r", "scopes": ["user:inference"], **others}
        if seconds is not None:
            entry["expiresAt"] = int((self.clock.now + seconds) * 1000)
        self.write_login(json.dumps({**OTHERS, "claudeAiOauth": entry}), at=at)

    def write_login(self, content: str | bytes, *, at: int = 1) -> None:
        self.login_file.parent.mkdir(exist_ok=True)
        self.login_file.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(self.login_file, (at, at))

    def write_profile(self, config: Any, credentials: Any = None, *, name: str = "default") -> None:
        folder = self.home / ".config" / "anthropic"
        for part, content, mode in (("configs", config, 0o644), ("credentials", credentials, 0o600)):
            file = folder / part / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content if isinstance(content, str) else json.dumps(content))
            file.chmod(mode)


@dataclass
class TokenEndpoint:
    """Anthropic's token exchange: gives `answers` in turn, the last for ever, and keeps what it was asked."""

    url: str = ""
    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def exchange(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        status, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(answer, status=status)

    def grant(self, token: str, *, seconds: int = 3600) -> None:
        self.answers.append((200, {"access_token": token, "token_type": "Bearer", "expires_in": seconds}))

    def refuse(self, status: int = 400) -> None:
        self.answers.append((status, {"error": "invalid_grant", "error_description": f"assertion was {CANARY}"}))


OAUTH_PROFILE = {"authentication": {"type": "user_oauth"}, "workspace_id": "wrkspc_1"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "CLAUDE")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    for credentials in house.found:
        close(credentials)


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    app = web.Application()
    app.router.add_post("/v1/oauth/token", endpoint.exchange)
    async with TestServer(app) as server:
        endpoint.url = str(server.make_url("")).rstrip("/")
        yield endpoint


@pytest.fixture
def workload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The variables of a workload identity, and the file that holds its identity token."""
    identity = tmp_path / "identity.jwt"
    identity.write_text("the-jwt\n")
    monkeypatch.setenv("ANTHROPIC_FEDERATION_RULE_ID", "fdrl_1")
    monkeypatch.setenv("ANTHROPIC_ORGANIZATION_ID", "org-1")
    monkeypatch.setenv("ANTHROPIC_IDENTITY_TOKEN_FILE", str(identity))
    return identity


async def token_of(credentials: Credentials) -> str:
    return (await credentials.headers())["Authorization"].removeprefix("Bearer ")


async def why_not(credentials: Credentials, error: type[AppError] = NotInitialized) -> str:
    """What a caller is told when there is nothing to send."""
    with pytest.raises(error) as caught:
        await credentials.headers()
    return str(caught.value)


# --- variables


@pytest.mark.parametrize(("name", "kind", "extra"), [
    ("ANTHROPIC_API_KEY", "api_key", {}),
    ("ANTHROPIC_AUTH_TOKEN", "oauth_token", {}),
    ("CLAUDE_CODE_OAUTH_TOKEN", "oauth_token", BETA),
])
async def test_a_variable_is_sent_as_a_bearer_token(
    house: House, name: str, kind: str, extra: Mapping[str, str],
) -> None:
    credentials = house.find({name: "  secret\n"})
    assert await credentials.headers() == {"Authorization": "Bearer secret", **extra}
    status = credentials.status()
    assert (status.kind, status.source, status.available) == (kind, name, (name,))
    assert (status.is_valid, status.expires_at, credentials.base_url) == (True, None, None)
    assert status.summary == f"Credentials come from {name}."


async def test_the_first_source_that_holds_something_is_used(
    house: House, workload: Path, endpoint: TokenEndpoint,
) -> None:
    endpoint.grant("exchanged")
    house.write_profile(OAUTH_PROFILE, {"access_token": "from-profile"})
    house.log_in("from-login")
    left = {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_AUTH_TOKEN": "token", "CLAUDE_CODE_OAUTH_TOKEN": "code"}
    everything = house.find(left).status()
    assert everything.available == (
        "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "workload identity", "profile", "CLAUDE_CODE_OAUTH_TOKEN",
        "Claude Code login",
    )
    assert await token_of(house.find(left)) == "key"
    del left["ANTHROPIC_API_KEY"]
    assert await token_of(house.find(left)) == "token"
    del left["ANTHROPIC_AUTH_TOKEN"]
    assert await token_of(house.find(left, base_url=endpoint.url)) == "exchanged"


async def test_the_later_sources_follow_in_their_order(house: House) -> None:
    house.log_in("from-login")
    house.write_profile(OAUTH_PROFILE, {"access_token": "from-profile"})
    assert await token_of(house.find({"CLAUDE_CODE_OAUTH_TOKEN": "code"})) == "from-profile"
    (house.home / ".config/anthropic/configs/default.json").unlink()
    assert await token_of(house.find({"CLAUDE_CODE_OAUTH_TOKEN": "code"})) == "code"
    assert await token_of(house.find()) == "from-login"


async def test_blank_variables_count_as_unset(house: House) -> None:
    house.log_in("from-login")
    credentials = house.find({"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": " \n", "CLAUDE_CODE_OAUTH_TOKEN": "\t"})
    assert await token_of(credentials) == "from-login"
    assert credentials.status().available == ("Claude Code login",)


async def test_blank_variables_do_not_hide_a_profile_from_the_sdk(
    house: House, monkeypatch: pytest.MonkeyPatch,
) -> None:
    house.write_profile(OAUTH_PROFILE, {"access_token": "from-profile"})
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_CONFIG_DIR"):
        monkeypatch.setenv(name, " ")
    assert await token_of(house.find()) == "from-profile"
    assert os.environ["ANTHROPIC_API_KEY"] == " "


@pytest.mark.parametrize("inner", ["\n", "\r\n", "\x00", "\x7f", " ", "\u200b", "é", "\udcff"])
async def test_a_value_that_no_header_can_carry_is_an_error_that_does_not_show_it(house: House, inner: str) -> None:
    house.log_in("from-login")
    credentials = house.find({"ANTHROPIC_API_KEY": f"{CANARY}{inner}{CANARY}"})
    status = credentials.status()
    assert (status.kind, status.source, status.is_valid) == ("api_key", "ANTHROPIC_API_KEY", False)
    assert status.error is not None and status.error.startswith("ANTHROPIC_API_KEY holds a character")
    assert await why_not(credentials) == status.error == status.summary
    assert not credentials.refused({})


async def test_a_refused_key_is_remembered_until_it_is_accepted(house: House) -> None:
    credentials = house.find({"ANTHROPIC_API_KEY": "key"})
    assert not credentials.refused(await credentials.headers())
    assert credentials.status().error == "Claude refused these credentials."
    assert not credentials.status().is_valid
    assert await token_of(credentials) == "key"  # it may be let in again
    credentials.accepted()
    assert credentials.status().is_valid


async def test_a_fixed_key_is_an_api_key_under_the_name_it_was_given() -> None:
    credentials = fixed("key\n", "simulator")
    assert await credentials.headers() == {"Authorization": "Bearer key"}
    status = credentials.status()
    assert (status.kind, status.source, status.available) == ("api_key", "simulator", ("simulator",))
    assert not fixed("a\nb", "simulator").status().is_valid


# --- nothing at all


async def test_without_anything_the_status_says_what_to_do(house: House) -> None:
    credentials = house.find()
    status = credentials.status()
    assert (status.kind, status.source, status.available, status.is_valid) == (None, None, (), False)
    assert status.summary == "No credentials were found. Set ANTHROPIC_API_KEY, or run `claude` and log in."
    assert await why_not(credentials) == status.error
    assert not credentials.refused({})
    credentials.accepted()


async def test_a_login_is_of_no_use_to_a_server_that_others_can_reach_nor_is_its_existence_told(house: House) -> None:
    without = house.find(loopback=False).status()
    os.mkfifo(_parent_made(house.login_file))  # opening it would block for ever
    credentials = house.find(loopback=False)
    assert credentials.status() == without
    assert without.kind is None and without.available == ()
    assert without.error is not None and "only by a server that is bound to loopback" in without.error
    assert await why_not(credentials) == without.error
    assert not credentials.refused({})
    credentials.accepted()


# --- Claude Code's login


async def test_the_login_is_sent_with_the_oauth_beta_and_its_expiry_is_shown(house: House) -> None:
    house.log_in("login-1", seconds=3600, subscriptionType="max")
    credentials = house.find()
    assert await credentials.headers() == {"Authorization": "Bearer login-1", **BETA}
    status = credentials.status()
    assert (status.kind, status.source, status.available) == (
        "oauth_token", "Claude Code login", ("Claude Code login",),
    )
    assert status.expires_at == datetime.fromtimestamp(NOW + 3600, UTC)
    assert status.summary == "Credentials come from Claude Code login, valid until 2027-01-15 09:00 UTC."
    assert credentials.base_url is None


async def test_the_login_is_looked_for_under_claude_config_dir(house: House, tmp_path: Path) -> None:
    house.log_in("elsewhere")
    (tmp_path / ".claude").rename(tmp_path / "claude-of-mine")
    assert await token_of(house.find({"CLAUDE_CONFIG_DIR": str(tmp_path / "claude-of-mine")})) == "elsewhere"


@pytest.mark.parametrize("expires_at", [None, 10 ** 30, 10 ** 400])
async def test_a_login_without_a_usable_expiry_has_none(house: House, expires_at: int | None) -> None:
    house.log_in("login-1", seconds=None, expiresAt=expires_at)
    credentials = house.find()
    assert await token_of(credentials) == "login-1"
    assert credentials.status().expires_at is None


async def test_a_login_may_lack_everything_but_its_token(house: House) -> None:
    house.write_login('{"claudeAiOauth": {"accessToken": "login-1"}}')
    assert await token_of(house.find()) == "login-1"


async def test_an_expired_login_says_what_to_run(house: House) -> None:
    house.log_in("login-1", seconds=300)
    credentials = house.find()
    assert await token_of(credentials) == "login-1"
    house.clock.now += 300
    assert await why_not(credentials) == "The Claude Code login has expired: run `claude` and log in."
    status = credentials.status()
    assert (status.kind, status.is_valid) == ("oauth_token", False)
    assert status.error == "The Claude Code login has expired: run `claude` and log in."
    assert not credentials.refused({})


async def test_a_login_that_changed_is_read_again(house: House) -> None:
    house.log_in("login-1")
    credentials = house.find()
    assert await token_of(credentials) == "login-1"
    house.log_in("login-2", at=2)
    assert await token_of(credentials) == "login-2"


async def test_a_login_file_that_was_replaced_is_read_again_though_time_and_size_are_the_same(house: House) -> None:
    house.log_in("login-1")
    credentials = house.find()
    assert await token_of(credentials) == "login-1"
    kept = house.login_file.rename(house.login_file.with_suffix(".old"))
    house.log_in("login-2")
    assert kept.stat().st_size == house.login_file.stat().st_size
    assert await token_of(credentials) == "login-2"


async def test_a_login_that_was_changed_in_place_within_one_tick_is_read_again(house: House) -> None:
    house.log_in("login-1")
    credentials = house.find()
    assert await token_of(credentials) == "login-1"
    house.log_in("login-1-and-more")
    assert await token_of(credentials) == "login-1-and-more"


async def test_a_half_written_login_is_read_again_though_nothing_shows_that_it_is_whole_now(house: House) -> None:
    house.log_in("login-1")
    whole = house.login_file.read_bytes()
    house.write_login(whole[:40] + bytes(len(whole) - 40))
    credentials = house.find()
    assert not credentials.status().is_valid
    house.write_login(whole)
    assert await token_of(credentials) == "login-1"


async def test_an_unchanged_login_is_not_read_again_until_it_is_about_to_expire(house: House) -> None:
    house.log_in("login-1", seconds=1000)
    credentials = house.find()
    assert await token_of(credentials) == "login-1"
    house.log_in("login-2", seconds=1000)  # the same file, size and time: nothing shows the change
    house.clock.now += 1000 - 120
    assert await token_of(credentials) == "login-1"
    house.clock.now += 1
    assert await token_of(credentials) == "login-2"


async def test_after_a_refusal_the_login_is_read_again_and_a_new_token_is_worth_a_try(house: House) -> None:
    house.log_in("login-1")
    credentials = house.find()
    old = await credentials.headers()
    house.log_in("login-2")  # the same file, size and time: nothing shows the change
    assert credentials.refused(old)
    assert credentials.status().is_valid
    assert await token_of(credentials) == "login-2"


async def test_a_refused_login_is_remembered_until_it_is_accepted_or_another_comes(house: House) -> None:
    house.log_in("login-1")
    credentials = house.find()
    assert not credentials.refused(await credentials.headers())
    assert credentials.status().error == "Claude refused these credentials."
    credentials.accepted()
    assert credentials.status().is_valid
    assert not credentials.refused(await credentials.headers())
    house.log_in("login-2", at=2)
    assert credentials.status().is_valid


async def test_logging_in_and_out_is_seen_while_the_server_runs(house: House) -> None:
    credentials = house.find()
    await why_not(credentials)
    house.log_in("login-1")
    assert await token_of(credentials) == "login-1"
    house.write_login(json.dumps(OTHERS), at=2)
    assert (await why_not(credentials)).startswith("No credentials were found.")
    house.log_in("login-2", at=3)
    assert await token_of(credentials) == "login-2"
    house.login_file.unlink()
    assert credentials.status().kind is None
    assert not credentials.refused({})


@pytest.mark.parametrize("content", [
    "{}", json.dumps(OTHERS), '{"claudeAiOauth": null}', '{"claudeAiOauth": {"accessToken": " "}}',
])
async def test_a_file_without_a_login_means_nobody_is_logged_in(house: House, content: str) -> None:
    house.write_login(content)
    assert house.find().status().kind is None


@pytest.mark.parametrize("content", [
    b"", b'{"claudeAiOauth": {"accessTok', b"\xff\xfe\x00", b"[]", b"7", b"[" * 100_000,
    b'{"claudeAiOauth": []}', b'{"claudeAiOauth": {}}', b'{"claudeAiOauth": {"accessToken": 7}}',
    b'{"claudeAiOauth": {"accessToken": "t", "expiresAt": "tomorrow"}}',
    b'{"claudeAiOauth": {"accessToken": "t", "expiresAt": true}}',
    b'{"claudeAiOauth": {"accessToken": "a\\nb", "expiresAt": 1}}',
])
async def test_a_malformed_login_is_a_clear_error_and_recovers(house: House, content: bytes) -> None:
    house.write_login(content)
    credentials = house.find()
    status = credentials.status()
    assert (status.kind, status.is_valid) == ("oauth_token", False)
    assert status.error is not None and status.error.startswith("The Claude Code login ")
    assert str(house.home) not in status.error and "expired" not in status.error
    assert await why_not(credentials) == status.error
    assert not credentials.refused({})
    house.log_in("login-1")
    assert await token_of(credentials) == "login-1"
    assert credentials.status().is_valid


def _parent_made(path: Path) -> Path:
    path.parent.mkdir()
    return path


@pytest.mark.parametrize("spoil", [
    os.mkdir,
    os.mkfifo,
    lambda path: path.symlink_to(path),
])
async def test_a_login_that_is_no_readable_file_is_a_clear_error_and_recovers(
    house: House, spoil: Callable[[Path], None],
) -> None:
    spoil(_parent_made(house.login_file))
    credentials = house.find()
    assert await why_not(credentials) == "The Claude Code login could not be read: its file is not accessible."
    house.login_file.rename(house.home / "spoiled")
    house.log_in("login-1")
    assert await token_of(credentials) == "login-1"


async def test_a_file_where_claude_codes_folder_should_be_means_nobody_is_logged_in(house: House) -> None:
    house.login_file.parent.write_text("")
    assert house.find().status().kind is None


async def test_the_login_file_and_its_folder_are_left_as_they_are(house: House) -> None:
    house.log_in("login-1", seconds=-5)
    before = house.login_file.read_bytes(), house.login_file.stat().st_mtime_ns
    credentials = house.find()
    await why_not(credentials)
    credentials.refused({"Authorization": "Bearer login-1"})
    assert (house.login_file.read_bytes(), house.login_file.stat().st_mtime_ns) == before
    assert os.listdir(house.login_file.parent) == [house.login_file.name]


# --- profiles


async def test_an_active_profile_is_used_with_its_own_host_and_headers(house: House) -> None:
    profile = {**OAUTH_PROFILE, "base_url": "https://staging.example"}
    house.write_profile(profile, {"access_token": "rotated\n", "expires_at": NOW + 3600})
    credentials = house.find()
    assert credentials.status().is_valid and credentials.status().expires_at is None
    assert await credentials.headers() == {
        "Authorization": "Bearer rotated", "anthropic-workspace-id": "wrkspc_1", **BETA,
    }
    status = credentials.status()
    assert (status.kind, status.source, status.available) == ("profile", "profile", ("profile",))
    assert status.expires_at == datetime.fromtimestamp(NOW + 3600, UTC)
    assert credentials.base_url == "https://staging.example"


async def test_a_profile_is_chosen_by_name_before_a_workload_identity(
    house: House, workload: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    house.write_profile(OAUTH_PROFILE, {"access_token": "another"})
    house.write_profile(OAUTH_PROFILE, {"access_token": "mine"}, name="mine")
    monkeypatch.setenv("ANTHROPIC_PROFILE", "mine")
    credentials = house.find()
    assert await token_of(credentials) == "mine"
    assert credentials.status().available == ("profile", "workload identity")


@pytest.mark.parametrize("config", [
    "{half", "[]", {"authentication": {}, "base_url": "http://far.example"}, "[" * 100_000,
    {**OAUTH_PROFILE, "workspace_id": "a\nb"},
])
async def test_a_broken_chosen_profile_is_reported_and_not_passed_over(
    house: House, config: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    house.log_in("from-login")
    house.write_profile(config)
    monkeypatch.setenv("ANTHROPIC_PROFILE", "default")
    credentials = house.find({"CLAUDE_CODE_OAUTH_TOKEN": "code"})
    status = credentials.status()
    assert (status.kind, status.source, status.is_valid) == ("profile", "profile", False)
    assert status.error == "The profile could not be read: check its settings and files."
    assert await why_not(credentials) == status.error


async def test_a_config_directory_that_was_named_but_holds_nothing_is_reported(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path / "nowhere"))
    assert house.find().status().source == "profile"
    assert not house.find().status().is_valid


async def test_a_broken_profile_that_nobody_chose_is_passed_over(house: House) -> None:
    house.write_profile("{half")
    assert await token_of(house.find({"CLAUDE_CODE_OAUTH_TOKEN": "code"})) == "code"


async def test_a_variable_that_the_caller_did_not_pass_on_is_not_used(
    house: House, monkeypatch: pytest.MonkeyPatch,
) -> None:
    house.write_profile(OAUTH_PROFILE, {"access_token": "from-profile"})
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "of-the-process")
    credentials = find_credentials({}, loopback=False, home=house.home, base_url="http://127.0.0.1:9")
    assert credentials.status().kind is None


@pytest.mark.parametrize(("held", "error"), [
    ({"access_token": ""}, NotInitialized),
    ({"access_token": "a\nb"}, NotInitialized),
    ({"access_token": 7}, CredentialsRefused),
    ('{"access_token": "t", "expires_at": Infinity}', CredentialsRefused),
])
async def test_a_profile_whose_token_cannot_be_used_is_an_error_and_recovers(
    house: House, held: Any, error: type[AppError],
) -> None:
    house.write_profile(OAUTH_PROFILE, held)
    credentials = house.find()
    told = await why_not(credentials, error)
    assert told == credentials.status().error and str(house.home) not in told
    house.write_profile(OAUTH_PROFILE, {"access_token": "well"})
    assert await token_of(credentials) == "well"
    assert credentials.status().is_valid


async def test_a_profiles_credentials_file_that_others_can_read_is_not_used(house: House) -> None:
    house.write_profile(OAUTH_PROFILE, {"access_token": CANARY})
    (house.home / ".config/anthropic/credentials/default.json").chmod(0o644)
    assert await why_not(house.find()) == "The token of the profile could not be read."


async def test_a_refused_profile_token_is_read_again_and_the_same_token_is_worth_one_try_only(house: House) -> None:
    house.write_profile(OAUTH_PROFILE, {"access_token": "first"})
    credentials = house.find()
    sent = await credentials.headers()
    assert credentials.refused(sent)
    assert not credentials.status().is_valid
    assert await credentials.headers() == sent
    assert not credentials.refused(sent)
    house.write_profile(OAUTH_PROFILE, {"access_token": "second"})
    assert await token_of(credentials) == "second"
    assert credentials.status().is_valid


async def test_an_accepted_profile_token_is_no_longer_a_refused_one(house: House) -> None:
    house.write_profile(OAUTH_PROFILE, {"access_token": "first"})
    credentials = house.find()
    assert credentials.refused(await credentials.headers())
    await credentials.headers()
    credentials.accepted()
    assert credentials.status().is_valid


# --- workload identity


async def test_a_workload_identity_is_exchanged_once_and_renewed_near_its_end(
    house: House, workload: Path, endpoint: TokenEndpoint,
) -> None:
    endpoint.grant("exchanged-1", seconds=3600)
    endpoint.grant("exchanged-2", seconds=7200)
    house.clock.now = datetime.now(UTC).timestamp()  # the SDK counts from the real time
    credentials = house.find(base_url=endpoint.url)
    assert credentials.status().is_valid and endpoint.asked == []
    assert await credentials.headers() == {"Authorization": "Bearer exchanged-1", **BETA}
    assert await token_of(credentials) == "exchanged-1"
    status = credentials.status()
    assert (status.kind, status.source) == ("workload_identity", "workload identity")
    assert status.expires_at is not None
    assert 3590 < status.expires_at.timestamp() - house.clock.now < 3610
    house.clock.now += 3600 - 60
    assert await token_of(credentials) == "exchanged-2"
    assert [body["assertion"] for body in endpoint.asked] == ["the-jwt", "the-jwt"]
    assert credentials.base_url is None


async def test_many_refusals_of_one_token_cost_one_exchange(
    house: House, workload: Path, endpoint: TokenEndpoint,
) -> None:
    endpoint.grant("exchanged-1")
    endpoint.grant("exchanged-2")
    house.clock.now = datetime.now(UTC).timestamp()
    credentials = house.find(base_url=endpoint.url)
    sent = await credentials.headers()
    assert credentials.refused(sent) and credentials.refused(sent)
    assert credentials.status().error == "Claude refused these credentials."
    assert await token_of(credentials) == "exchanged-2"
    assert credentials.refused(sent)
    assert await token_of(credentials) == "exchanged-2"
    assert len(endpoint.asked) == 2
    assert credentials.status().is_valid


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (401, 2), (500, 1)])
async def test_a_failed_exchange_is_reported_without_its_cause_and_recovers(
    house: House, workload: Path, endpoint: TokenEndpoint, status: int, tries: int,
) -> None:
    endpoint.refuse(status)
    credentials = house.find(base_url=endpoint.url)
    told = await why_not(credentials, CredentialsRefused)
    assert told == credentials.status().error == "The token exchange of the workload identity failed."
    assert len(endpoint.asked) == tries
    endpoint.answers.clear()
    endpoint.grant("exchanged")
    assert await token_of(credentials) == "exchanged"
    assert credentials.status().is_valid


async def test_an_identity_token_that_is_not_there_is_reported(house: House, workload: Path) -> None:
    workload.unlink()
    assert await why_not(house.find()) == "The token of the workload identity could not be read."


async def test_a_workload_identity_is_not_sent_over_an_open_line(house: House, workload: Path) -> None:
    status = house.find(base_url="http://far.example").status()
    assert (status.kind, status.source, status.is_valid) == ("workload_identity", "workload identity", False)


async def test_a_token_that_still_holds_is_used_when_renewing_it_fails(
    house: House, workload: Path, endpoint: TokenEndpoint, caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.grant("exchanged", seconds=100)
    endpoint.refuse()
    house.clock.now = datetime.now(UTC).timestamp()
    credentials = house.find(base_url=endpoint.url)
    assert await token_of(credentials) == "exchanged"
    assert await token_of(credentials) == "exchanged"
    assert len(endpoint.asked) == 2 and credentials.status().is_valid
    assert "WorkloadIdentityError" in caplog.text and CANARY not in caplog.text


# --- what it costs


@pytest.mark.parametrize("environ", [{"ANTHROPIC_API_KEY": "key"}, {}])
def test_the_sdk_is_not_imported_when_there_is_nothing_for_it_to_find(
    environ: dict[str, str], tmp_path: Path,
) -> None:
    (tmp_path / ".config" / "anthropic" / "configs").mkdir(parents=True)
    script = (
        "import asyncio, os, pathlib, sys\n"
        "from aioapp.credentials import find_credentials\n"
        "from aioapp.errors import NotInitialized\n"
        "found = find_credentials(os.environ, loopback=True, home=pathlib.Path.home(), base_url='https://x')\n"
        "try:\n"
        "    asyncio.run(found.headers())\n"
        "except NotInitialized:\n"
        "    print('nothing')\n"
        "print('anthropic' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environ}, capture_output=True, text=True, check=True,
    )
    assert done.stdout.split() == (["False"] if environ else ["nothing", "False"])


# --- where a profile is looked for


def test_on_windows_a_profile_is_looked_for_in_appdata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    for folder in ("AppData/Roaming/Anthropic", "moved/Anthropic"):
        (tmp_path / folder / "configs").mkdir(parents=True)
    assert present({}, tmp_path) == ()
    (tmp_path / "AppData/Roaming/Anthropic/configs/default.json").write_text("{}")
    assert present({}, tmp_path) == ("profile",)
    moved = {"APPDATA": str(tmp_path / "moved")}
    assert present(moved, tmp_path) == ()
    (tmp_path / "moved/Anthropic/active_config").write_text("mine")
    assert present(moved, tmp_path) == ("profile",)


def test_the_cheap_look_finds_a_profile_wherever_the_sdk_does(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    from anthropic.lib.credentials import default_credentials
    assert (present({}, tmp_path), default_credentials()) == ((), None)
    house.write_profile(OAUTH_PROFILE, {"access_token": "t"}, name="mine")
    assert (present({}, tmp_path), default_credentials()) == ((), None)
    (tmp_path / ".config/anthropic/active_config").write_text("mine\n")
    assert present({}, tmp_path) == ("profile",)
    assert default_credentials() is not None


# --- secrets


async def _attempt(credentials: Credentials) -> list[str]:
    """Everything that these credentials let be seen while they are used, refused and used again."""
    seen = []
    for _ in range(2):
        try:
            sent = await credentials.headers()
            seen += _shown(credentials)
            credentials.refused(sent)
        except AppError as error:
            seen += [repr(error), str(error), str(error.detail), *traceback.format_exception(error)]
        seen += _shown(credentials)
    return seen


def _shown(credentials: Credentials) -> list[str]:
    return [repr(credentials), str(credentials), repr(credentials.status()), credentials.status().summary]


async def _check_silence(credentials: Credentials, caplog: pytest.LogCaptureFixture, home: Path) -> None:
    seen = "\n".join([*await _attempt(credentials), caplog.text])
    assert [part for part in (CANARY[at:at + 4] for at in range(len(CANARY) - 3)) if part in seen] == []
    assert str(home) not in repr(credentials.status())


@pytest.mark.parametrize("value", [CANARY, f"{CANARY}\n{CANARY}"])
@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"])
async def test_no_part_of_a_variable_is_ever_shown(
    house: House, caplog: pytest.LogCaptureFixture, name: str, value: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    await _check_silence(house.find({name: value}), caplog, house.home)


@pytest.mark.parametrize("seconds", [3600, -1])
@pytest.mark.parametrize("token", [CANARY, f"{CANARY}\n{CANARY}"])
async def test_no_part_of_the_login_is_ever_shown(
    house: House, caplog: pytest.LogCaptureFixture, token: str, seconds: float,
) -> None:
    caplog.set_level(logging.DEBUG)
    house.log_in(token, seconds=seconds, refreshToken=CANARY)
    await _check_silence(house.find(), caplog, house.home)


async def test_no_part_of_a_half_written_login_is_ever_shown(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    house.write_login(f'{{"claudeAiOauth": {{"accessToken": "{CANARY}')
    await _check_silence(house.find(), caplog, house.home)


@pytest.mark.parametrize("held", [
    {"access_token": CANARY}, {"access_token": f"{CANARY}\n{CANARY}"}, {"access_token": "t", "expires_at": CANARY},
    {"access_token": CANARY, "type": CANARY}, [CANARY], f'{{"access_token": "{CANARY}',
])
async def test_no_part_of_a_profiles_token_is_ever_shown(
    house: House, caplog: pytest.LogCaptureFixture, held: Any,
) -> None:
    caplog.set_level(logging.DEBUG)
    house.write_profile(OAUTH_PROFILE, held)
    await _check_silence(house.find(), caplog, house.home)


@pytest.mark.parametrize("granted", [True, False])
async def test_no_part_of_a_workload_identity_is_ever_shown(
    house: House, workload: Path, endpoint: TokenEndpoint, caplog: pytest.LogCaptureFixture, granted: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    workload.write_text(CANARY)
    endpoint.grant(CANARY) if granted else endpoint.refuse()
    await _check_silence(house.find(base_url=endpoint.url), caplog, house.home)
