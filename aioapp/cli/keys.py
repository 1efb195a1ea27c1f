"""The command line for keys: `aioapp keys …`. It needs no server, and one that runs sees what it does."""
import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from aioapp.cli.key_commands import (
    Answer, Asked, Work, create, forget, revoke, rotate, show, show_all, trail, update,
)
from aioapp.cli.key_options import add_changes, add_terms, taken
from aioapp.errors import Conflict, NotFound, StoreUnavailable
from aioapp.keys.text import count, grace
from aioapp.settings import SettingError, database_of
from aioapp.settings.location import database_path
from aioapp.store.embedded import check_exists, open_store, reason_of

Clock = Callable[[], datetime]

REFUSED, UNUSABLE = 1, 2


def run(argv: Sequence[str], environ: Mapping[str, str], *, clock: Clock = partial(datetime.now, UTC)) -> int:
    """Do what `argv` asks. Returns the exit status: 1 for a refusal, 2 for what cannot be used."""
    try:
        asked = parser().parse_args(argv)
    except SystemExit as end:  # it has told why
        return UNUSABLE if end.code else 0
    try:
        path = database_path(asked.database or database_of(asked.config, environ), environ)
    except SettingError as error:
        return refused(str(error), status=UNUSABLE)
    try:
        out, note = asyncio.run(done(path, asked.work(asked, clock()), create=asked.work is create))
    except NotFound as error:
        return refused(f"{error.detail} See `aioapp keys list`.", status=REFUSED)
    except Conflict as error:
        return refused(str(error.detail), status=REFUSED)
    except ValueError as error:
        return refused(str(error), status=UNUSABLE)
    except StoreUnavailable as error:
        return refused(f"the database {path} cannot be used: {reason_of(error)}", status=UNUSABLE)
    for text, stream in ((note, sys.stderr), (out, sys.stdout)):
        if text:
            print(text, file=stream)
    return 0


async def done(path: Path, work: Work, *, create: bool) -> Answer:
    """What `work` answers. Raises `StoreUnavailable`."""
    if not create:
        check_exists(path)
    async with open_store(path, create=create, quiet=True) as store:
        return await work(store)


def refused(line: str, *, status: int) -> int:
    visible = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
    print(f"aioapp: {visible}", file=sys.stderr)
    return status


def parser() -> argparse.ArgumentParser:
    """Without a usage, which argparse would put before its one line on what is wrong."""
    made = argparse.ArgumentParser(
        prog="aioapp keys", usage=argparse.SUPPRESS, allow_abbrev=False,
        description="Keys say who may use the server, and how much. With any key made, everybody needs one.")
    commands = made.add_subparsers(prog="aioapp keys", metavar="command", required=True)

    def command(name: str, work: Callable[[Asked, datetime], Work], *, help: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, usage=argparse.SUPPRESS, allow_abbrev=False, help=help, description=help)
        one.add_argument("--database", metavar="PATH", help="the server's [API_DATABASE; in the user's state folder]")
        one.add_argument("--config", metavar="FILE", help="the server's, which may name its database [API_CONFIG]")
        one.set_defaults(work=work)
        if work not in (show_all, trail):
            one.add_argument("name", metavar="NAME")
        return one

    add_terms(command("create", create, help="make a key, and print it: this once"))
    add_changes(command("update", update, help="change a key's terms, for all servers that run"))
    for name, work, help in (("list", show_all, "list all keys"), ("show", show, "show one key's terms")):
        command(name, work, help=help).add_argument("--json", action="store_true", help="for programs")
    log = command("log", trail, help="list what was done to keys, the latest first")
    log.add_argument("name", metavar="NAME", nargs="?", help="of this key only")
    log.add_argument("--limit", metavar="N", type=taken(count), default=50, help="at most so many entries [50]")
    log.add_argument("--before", metavar="NUMBER", type=taken(count), help="those that come after a list that ended")
    log.add_argument("--json", action="store_true", help="for programs")
    command("revoke", revoke, help="end a key, at once and for good")
    command("forget", forget, help="give up the name of a revoked key, for another one to have")
    command("rotate", rotate, help="print a new secret for a key").add_argument(
        "--grace", type=taken(grace), default="24h", help="how long the one before it still works: 0s, 10m, 7d [24h]")
    return made
