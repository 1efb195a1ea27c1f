"""`aioapp keys …`, as somebody at a terminal meets it, or a script."""
import asyncio
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aioapp.cli import keys as command
from aioapp.errors import Forbidden, Unauthorized
from aioapp.keys import Keyring
from aioapp.keys.key import SECRET
from aioapp.store.embedded.key_store import EmbeddedKeys
from aioapp.store.embedded.database import Database, connect
from tests.keyed import garbled
from tests.processes import ROOT

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
RUN = "import sys; from aioapp.cli import keys as command; sys.exit(command.run(sys.argv[1:], {}))"
ONCE = "This is shown once. Keep it where secrets are kept."


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def secret(self) -> str:
        """The key, which is alone on standard output."""
        assert self.status == 0 and self.out.endswith("\n") and SECRET.fullmatch(self.out[:-1])
        return self.out[:-1]


Keys = Callable[..., Ran]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "aioapp.db"


@pytest.fixture
def keys(path: Path, capsys: pytest.CaptureFixture[str]) -> Keys:
    def keys(*argv: str, at: datetime = AT) -> Ran:
        status = command.run(argv, {"API_DATABASE": str(path)}, clock=lambda: at)
        return Ran(status, *capsys.readouterr())

    return keys


def test_a_key_is_printed_alone_and_what_it_may_beside_it(keys: Keys) -> None:
    created = keys("create", "web")
    assert created.secret
    assert created.err == f"{ONCE} web: any model, no budget, no end.\n"


@pytest.mark.parametrize(("end", "shown"), [
    ("2027-01-31", "2027-01-31"), ("2027-02-01T00:00:00Z", "2027-01-31"), ("2027-02-01T01:00:00+01:00", "2027-01-31"),
    ("2027-01-31T12:00:00Z", "2027-01-31 12:00:00 UTC"), ("2027-01-31T00:00:00+01:00", "2027-01-30 23:00:00 UTC")])
def test_a_last_day_is_shown_as_that_day(keys: Keys, end: str, shown: str) -> None:
    assert keys("create", "web", "--expires", end).err == f"{ONCE} web: any model, no budget, until {shown}.\n"
    assert f" {shown} " in keys("list").out


def test_every_term_can_be_said(keys: Keys) -> None:
    created = keys(
        "create", "web", "--requests-per-minute", "60", "--tokens-per-minute", "1000", "--concurrency", "4",
        "--budget", "2.500000001", "--per", "day", "--models", "claude-sonnet-*", "claude-haiku-*",
        "--expires", "2027-01-31", "--admin", "--note", "for the fair", "--owner", "ada@example.com")
    assert created.secret
    assert created.err == (
        f"{ONCE} web: models claude-sonnet-* claude-haiku-*, requests per minute 60, tokens per minute 1000, "
        "concurrency 4, $2.500000001 a day, until 2027-01-31, admin.\n")
    told = json.loads(keys("show", "web", "--json").out)
    assert told.pop("today") == told.pop("month")
    assert told == {
        "name": "web", "admin": True,
        "limits": {"requests_per_minute": 60, "tokens_per_minute": 1000, "concurrency": 4},
        "budget": {"usd": 2.500000001, "per": "day", "strict": False}, "spent_usd": 0.0,
        "models": ["claude-sonnet-*", "claude-haiku-*"],
        "created_at": "2026-11-23T09:30:00+00:00", "expires_at": "2027-01-31T23:59:59+00:00", "revoked_at": None,
        "last_used_at": None, "state": "active", "note": "for the fair", "owner": "ada@example.com"}


CHANGES: dict[tuple[str, ...], dict[str, object]] = {
    ("--concurrency", "8"): {"limits": {"requests_per_minute": None, "tokens_per_minute": None, "concurrency": 8}},
    ("--no-concurrency", "--tokens-per-minute", "5"): {
        "limits": {"requests_per_minute": None, "tokens_per_minute": 5, "concurrency": None}},
    ("--budget", "10"): {"budget": {"usd": 10.0, "per": "day", "strict": True}},
    ("--per", "month"): {"budget": {"usd": 5.0, "per": "month", "strict": True}},
    ("--no-strict-budget",): {"budget": {"usd": 5.0, "per": "day", "strict": False}},
    ("--no-budget",): {"budget": None, "spent_usd": None},
    ("--models", "b*", "c"): {"models": ["b*", "c"]},
    ("--no-models",): {"models": ["*"]},
    ("--expires", "2027-02-28"): {"expires_at": "2027-02-28T23:59:59+00:00"},
    ("--no-expires",): {"expires_at": None},
    ("--admin",): {"admin": True},
    ("--note", "Größe", "--no-owner"): {"note": "Größe", "owner": None},
    ("--no-note", "--owner", "Bob <bob@example.com>"): {"note": None, "owner": "Bob <bob@example.com>"},
}


@pytest.mark.parametrize("options", CHANGES, ids=" ".join)
def test_an_update_changes_what_it_names_and_nothing_else(keys: Keys, options: tuple[str, ...]) -> None:
    keys("create", "web", "--concurrency", "4", "--budget", "5", "--per", "day", "--strict-budget", "--models", "a",
         "--expires", "2027-01-31", "--note", "n", "--owner", "o")
    before = json.loads(keys("show", "web", "--json").out)
    changed = keys("update", "web", *options, at=AT + timedelta(days=1))
    assert (changed.status, changed.err) == (0, "") and changed.out.startswith("web is changed: ")
    after = json.loads(keys("show", "web", "--json").out)
    assert after == before | CHANGES[options] and after != before


def test_an_expired_key_can_be_given_a_longer_life(keys: Keys) -> None:
    keys("create", "web", "--expires", "2026-11-24")
    late = AT + timedelta(days=9)
    assert json.loads(keys("show", "web", "--json", at=late).out)["state"] == "expired"
    assert keys("update", "web", "--expires", "2027-01-31", at=late).status == 0
    assert json.loads(keys("show", "web", "--json", at=late).out)["state"] == "active"


def test_a_strict_budget_is_told_as_one_wherever_the_key_is(keys: Keys) -> None:
    created = keys("create", "web", "--budget", "5", "--per", "day", "--strict-budget")
    assert created.secret and created.err == f"{ONCE} web: any model, $5 a day, strict, no end.\n"
    assert "  $5 a day, strict  " in keys("list").out
    assert "budget        $5 a day, strict" in keys("show", "web").out.splitlines()
    [listed] = json.loads(keys("list", "--json").out)["keys"]
    shown = json.loads(keys("show", "web", "--json").out)
    assert listed["budget"] == shown["budget"] == {"usd": 5.0, "per": "day", "strict": True}


def test_the_log_says_who_did_what_and_when_the_latest_first(keys: Keys) -> None:
    keys("create", "web", "--concurrency", "4", "--budget", "5", "--per", "day", "--owner", "ada")
    keys("update", "web", "--no-concurrency", "--budget", "0.000000001", "--models", "a", "b",
         "--expires", "2027-01-31")
    keys("update", "web", "--budget", "0.000000001")  # which it has
    keys("create", "ops", "--admin", at=AT + timedelta(days=1))
    keys("rotate", "web", at=AT + timedelta(days=2))
    keys("revoke", "web", at=AT + timedelta(days=2))
    assert [line.split("  ")[:1] + line.split()[3:] for line in keys("log").out.splitlines()[1:]] == [
        ["2026-11-25 09:30:00 UTC", *"command line revoked web -".split()],
        ["2026-11-25 09:30:00 UTC", *"command line rotated web -".split()],
        ["2026-11-24 09:30:00 UTC", *"command line created ops admin no -> yes".split()],
        ["2026-11-23 09:30:00 UTC", *(
            "command line changed web concurrency 4 -> -; budget $5 a day -> $0.000000001 a day; models * -> a b; "
            "expires_at - -> 2027-01-31T23:59:59+00:00").split()],
        ["2026-11-23 09:30:00 UTC", *(
            "command line created web concurrency - -> 4; budget - -> $5 a day; owner - -> ada").split()]]


def test_a_log_is_told_page_by_page_and_of_one_key(keys: Keys) -> None:
    for name in ("a", "b", "a-2", "c"):
        keys("create", name)
    keys("rotate", "a")
    first = keys("log", "--limit", "3")
    [cursor] = re.findall(r"--before (\d+)\.$", first.err)
    told = [json.loads(keys("log", "--json", *argv).out) for argv in (
        ("--limit", "3"), ("--before", cursor), ("a",), ("a", "--limit", "1"), ("nobody",))]
    assert [[entry["key"] for entry in page["entries"]] for page in told] == [
        ["a", "c", "a-2"], ["b", "a"], ["a", "a"], ["a"], []]
    assert [page["next"] is None for page in told] == [False, True, True, False, True]
    assert keys("log", "nobody") == keys("log", "\udcff") == Ran(0, "", "Nothing was done.\n")


def test_a_name_that_is_forgotten_can_be_given_again_and_its_accounts_stay(keys: Keys, path: Path) -> None:
    old = keys("create", "web", "--budget", "5", "--per", "day", "--owner", "ada").secret
    keys("create", "ops")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO usage VALUES ('2026-11-23', 'web', 'm', 2, 0, 0, 10, 5, 0, 0, 1500, 0.1)")
        connection.execute("INSERT INTO last_used VALUES ('web', '2026-11-23T09:30:00.000+00:00')")
    keys("revoke", "web")
    assert keys("forget", "web") == Ran(0, (
        "web is forgotten. What it used stays in the accounts, and counts for the next key of this name.\n"), "")
    assert "web" not in keys("list").out and keys("show", "web").status == 1
    assert keys("create", "web").secret != old
    shown = json.loads(keys("show", "web", "--json").out)
    assert (shown["state"], shown["budget"], shown["owner"], shown["last_used_at"]) == ("active", None, None, None)
    assert shown["today"]["requests"] == 2
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM secrets WHERE key = 'web'").fetchone() == (1,)
    assert [entry["what"] for entry in json.loads(keys("log", "web", "--json").out)["entries"]] == [
        "created", "forgotten", "revoked", "created"]


def test_the_last_key_is_not_forgotten_for_then_all_keys_would_seem_lost(keys: Keys) -> None:
    keys("create", "web")
    keys("revoke", "web")
    refused = keys("forget", "web")
    assert refused.status == 1 and "the only one that is known" in refused.err
    keys("create", "other")
    assert keys("forget", "web").status == 0 and keys("revoke", "other").status == 0
    assert keys("forget", "other").status == 1


async def test_a_server_that_runs_does_not_know_who_was_forgotten(keys: Keys, path: Path) -> None:
    for name in ("web", "boss", "other"):
        await asyncio.to_thread(keys, "create", name, "--admin")
    old = (await asyncio.to_thread(keys, "rotate", "web")).secret
    database = Database(path, create=False)
    store = EmbeddedKeys(database)
    keyring = Keyring(store, clock=lambda: AT)
    await keyring.refresh()
    caller = keyring.find(old)
    token = await store.begin_session(caller, at=AT)
    for argv in (("revoke", "web"), ("forget", "web"), ("create", "web", "--admin")):
        assert (await asyncio.to_thread(keys, *argv)).status == 0
    with pytest.raises(Forbidden, match="not known any more"):  # before it has looked again
        await store.revoke("other", by=caller, at=AT)
    await keyring.refresh()
    with pytest.raises(Unauthorized, match="not known"):
        keyring.find(old)
    with pytest.raises(Unauthorized, match="over"):
        await store.session_opener(token, at=AT)
    await database.close()


def test_a_list_is_an_aligned_table_of_every_key_in_its_state(keys: Keys) -> None:
    keys("create", "web", "--expires", "2026-11-24T00:00:00+01:00")
    keys("create", "ops", "--admin", "--budget", "10", "--per", "month", "--owner", "ada")
    keys("create", "gone", "--models", "a*", "b", "--concurrency", "2")
    keys("revoke", "gone")
    listed = keys("list", at=AT + timedelta(days=1))
    assert listed.out.splitlines() == [
        "name  state    admin  requests/min  tokens/min  concurrency  budget       expires                  last used  "
        "owner  models",
        "gone  revoked  -      -             -           2            -            -                        -          "
        "-      a* b",
        "ops   active   yes    -             -           -            $10 a month  -                        -          "
        "ada    *",
        "web   expired  -      -             -           -            -            2026-11-23 23:00:00 UTC  -          "
        "-      *",
    ]
    assert [key["name"] for key in json.loads(keys("list", "--json").out)["keys"]] == ["gone", "ops", "web"]


def test_one_key_is_shown_line_by_line_with_what_it_used(keys: Keys, path: Path) -> None:
    keys("create", "web")
    with closing(sqlite3.connect(path)) as connection, connection:
        for day in ("2026-11-23", "2026-11-01", "2026-10-31"):
            connection.execute("INSERT INTO usage VALUES (?, 'web', 'm', 2, 0, 0, 10, 5, 0, 0, 1500, 0.1)", (day,))
    lines = keys("show", "web").out.splitlines()
    assert {"state         active", "created       2026-11-23 09:30:00 UTC", "revoked       -",
            "today         2 requests, 15 tokens, $0.0000015", "month         4 requests, 30 tokens, $0.000003",
            } <= set(lines)


def test_where_there_are_no_keys_a_list_says_so(keys: Keys, path: Path) -> None:
    connect(path, create=True).close()
    assert keys("list") == Ran(0, "", "There are no keys.\n")


def test_a_rotation_prints_the_new_key_and_how_long_the_old_one_works(keys: Keys) -> None:
    old = keys("create", "web", "--expires", "2027-01-31").secret
    for grace, until in (((), "2026-11-24 09:30:00"), (("--grace", "10m"), "2026-11-23 09:40:00"),
                         (("--grace", "365d"), "2027-01-31 23:59:59")):
        rotated = keys("rotate", "web", *grace)
        assert rotated.secret != old
        assert rotated.err == f"{ONCE} The one before it works until {until} UTC.\n"
    assert keys("rotate", "web", "--grace", "0s").err == f"{ONCE} The one before it no longer works.\n"


async def test_a_server_that_runs_sees_what_is_done(keys: Keys, path: Path) -> None:
    old = (await asyncio.to_thread(keys, "create", "web")).secret
    database = Database(path, create=False)
    keyring = Keyring(EmbeddedKeys(database), clock=lambda: AT)
    await keyring.refresh()
    assert keyring.find(old).name == "web"
    new = (await asyncio.to_thread(keys, "rotate", "web")).secret
    await keyring.refresh()
    assert keyring.find(new) != keyring.find(old)
    await asyncio.to_thread(keys, "revoke", "web")
    await keyring.refresh()
    with pytest.raises(Unauthorized, match="revoked"):
        keyring.find(new)
    await database.close()


def test_secrets_are_told_when_they_are_made_and_never_again(keys: Keys, path: Path) -> None:
    made = [keys("create", "web").secret, keys("rotate", "web").secret]
    said = [keys("list"), keys("list", "--json"), keys("show", "web"), keys("show", "web", "--json"),
            keys("create", "web"), keys("revoke", "web"), keys("revoke", "web")]
    text = "".join(ran.out + ran.err for ran in said)
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    for secret in made:
        assert secret[-43:] not in text and secret[4:20] not in text
        assert secret[-43:].encode() not in kept


REFUSED: dict[tuple[str, ...], str] = {
    ("create", "web"): "The name web is another key's. Choose a new one.",
    ("forget", "web"): "The key web was not revoked. Revoke it first.",
    ("forget", "nobody"): "There is no key with the name 'nobody'. See `aioapp keys list`.",
    ("show", "nobody"): "There is no key with the name 'nobody'. See `aioapp keys list`.",
    ("revoke", "a\nb\udcff"): "There is no key with the name 'a\\nb\\udcff'. See `aioapp keys list`.",
    ("rotate", ""): "There is no key with the name ''. See `aioapp keys list`.",
    ("revoke", "gone"): "The key gone was revoked before.",
    ("rotate", "gone"): "The key gone was revoked. Create a new one.",
    ("update", "nobody", "--admin"): "There is no key with the name 'nobody'. See `aioapp keys list`.",
    ("update", "gone", "--no-note"): "The key gone was revoked. Create a new one.",
    ("create", "gone"):
        "The name gone was another key's. Choose a new one, or give this one up first: aioapp keys forget gone.",
}


@pytest.mark.parametrize("argv", REFUSED)
def test_a_refusal_is_one_line_and_status_1(keys: Keys, argv: tuple[str, ...]) -> None:
    for name in ("web", "gone"):
        keys("create", name)
    keys("revoke", "gone")
    assert keys(*argv) == Ran(1, "", f"aioapp: {REFUSED[argv]}\n")


@pytest.mark.parametrize(("argv", "why"), [
    ((), "command"),
    (("nonsense",), "invalid choice"),
    (("create",), "NAME"),
    (("create", "web", "--adm"), "unrecognized"),
    (("create", "two words"), "name: 1 to 64"),
    (("create", "anonymous"), "anonymous"),
    (("create", "web", "--budget", "1"), "--budget and --per go together"),
    (("create", "web", "--per", "day"), "--budget and --per go together"),
    (("create", "web", "--strict-budget"), "--strict-budget needs a budget"),
    (("create", "web", "--strict-budget", "--per", "day"), "--budget and --per go together"),
    (("create", "web", "--strict-budget", "--budget", "1"), "--budget and --per go together"),
    *((("create", "web", "--per", "day", "--budget", usd), "dollars") for usd in (
        "0", "1.0000000001", "1000000000.1", "1e3", "NaN", "Infinity", "1_0", "٣", "", "$1", "\udcff")),
    (("create", "web", "--per", "year", "--budget", "1"), "--per"),
    *((("create", "web", "--concurrency", number), "whole number") for number in (
        "0", "-1", "1.5", "1000000001", "٣", "", "9" * 5000)),
    *((("create", "web", "--expires", date), "expires_at") for date in (
        "2026-11-22", "2026-11-23T09:30:00Z", "2026-12-01T00:00:00", "tomorrow", "", "9999-12-31", "2027-02-30",
        "2027-01-31T00:00:00+25:00", "\udcff")),
    (("create", "web", "--models", "claude-?"), "models: "),
    (("create", "web", "--models", ""), "models: "),
    (("create", "web", "--models"), "--models"),
    (("create", "web", "--note", ""), "note: 1 to 500"),
    *((("create", "web", "--owner", owner), "owner: 1 to 200") for owner in ("a\nb", "\udcff", "\x1b[2J", 201 * "o")),
    (("update", "web"), "say what to change"),
    (("update", "web", "--no-budget", "--per", "day"), "--no-budget"),
    (("update", "web", "--models", "a", "--no-models"), "--no-models"),
    (("update", "web", "--concurrency", "0"), "whole number"),
    (("update", "web", "--expires", "2026-11-22"), "expires_at"),
    *((("rotate", "web", "--grace", grace), "s, m, h or d") for grace in (
        "1", "1w", "&s", "366d", "1.5h", "", "999999999d", "٣d")),
])
def test_bad_usage_is_one_line_and_status_2_and_makes_no_database(
        keys: Keys, path: Path, argv: tuple[str, ...], why: str) -> None:
    ran = keys(*argv)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("aioapp") and why in ran.err
    assert not path.exists()


@pytest.mark.parametrize("date", ["2026-11-23", "2026-11-23T10:30:01+01:00", "9998-12-30"])
def test_a_date_that_is_not_over_is_to_come(keys: Keys, date: str) -> None:
    assert keys("create", "web", "--expires", date).secret


@pytest.mark.parametrize("argv", [
    ("list",), ("log",), ("show", "web"), ("update", "web", "--admin"), ("revoke", "web"), ("rotate", "web"),
    ("forget", "web")])
def test_only_the_first_key_makes_a_database(keys: Keys, path: Path, argv: tuple[str, ...]) -> None:
    ran = keys(*argv)
    assert (ran.status, ran.out) == (2, "")
    assert str(path) in ran.err and "aioapp keys create" in ran.err
    assert not path.parent.exists()


def test_a_database_that_cannot_be_used_is_named_with_the_reason(keys: Keys, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to be looked at as if it were one" * 20)
    assert keys("list") == Ran(2, "", f"aioapp: the database {path} cannot be used: file is not a database\n")
    path.unlink()
    keys("create", "web")
    path.write_bytes(garbled(path))
    for argv in (("list",), ("list", "--json"), ("show", "web"), ("revoke", "web")):
        ran = keys(*argv)
        assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert ran.err.startswith(f"aioapp: the database {path} cannot be used: what it holds cannot be: UnicodeDecode")
    below = path / "below"
    ran = keys("create", "web", "--database", str(below))
    assert ran.status == 2 and ran.err.startswith(f"aioapp: the database {below} cannot be used: ")
    assert keys("create", "web", "--database", str(tmp_path)).status == 2
    for odd in ("a\0b", "a\nb", "a\x1b[2Jb", "a\udcffb"):
        ran = keys("list", "--database", odd)
        assert ran.status == 2 and ran.err[:-1].isprintable() and ran.err.endswith("\n")


def test_a_database_that_another_process_holds_is_told_from_a_refusal(keys: Keys, path: Path) -> None:
    keys("create", "web")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert keys("revoke", "web") == Ran(
            2, "", f"aioapp: the database {path} cannot be used: database is locked\n")
    assert keys("revoke", "web") == Ran(0, "web is revoked.\n", "")


def test_the_flag_wins_over_the_variable(keys: Keys, path: Path, tmp_path: Path) -> None:
    assert keys("create", "web", "--database", str(tmp_path / "named.db")).secret
    assert (tmp_path / "named.db").exists() and not path.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps files from others in another way")
def test_the_database_is_its_owners_only(keys: Keys, path: Path) -> None:
    keys("create", "web")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("options", "why"), [
    (("--strict-budget",), "budget.usd: a budget needs an amount"), (("--per", "day"), "budget.usd: "),
    (("--budget", "1"), "budget.per: a budget is for a day or for a month"), (("--models", "a?"), "models: "),
    (("--note", "a\tb"), "note: ")])
def test_what_a_key_cannot_be_it_is_not_changed_to(keys: Keys, options: tuple[str, ...], why: str) -> None:
    keys("create", "web")
    before = keys("show", "web", "--json").out
    ran = keys("update", "web", *options)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1) and why in ran.err
    assert keys("show", "web", "--json").out == before


@pytest.mark.parametrize("argv", [("--help",), ("create", "--help"), ("update", "--help"), ("rotate", "-h")])
def test_help_is_no_failure(keys: Keys, argv: tuple[str, ...]) -> None:
    ran = keys(*argv)
    assert (ran.status, ran.err) == (0, "") and "options:" in ran.out


async def test_of_processes_that_create_the_same_name_at_once_one_wins(path: Path) -> None:
    argv = (sys.executable, "-W", "error", "-c", RUN, "create", "web", "--database", str(path))
    pipe = asyncio.subprocess.PIPE
    running = [await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdout=pipe, stderr=pipe) for _ in range(3)]
    said = [await process.communicate() for process in running]
    assert sorted(process.returncode or 0 for process in running) == [0, 1, 1], said
    assert sum(out.startswith(b"aio_") for out, _ in said) == 1
