"""The command line for keys: `aioapp keys …`. It needs no server, and one that runs sees what it does."""
import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from aioapp.callers import Budget, Limits
from aioapp.errors import Conflict, NotFound, StoreUnavailable
from aioapp.keys import Key, expiry
from aioapp.keys.key import END_OF_TIME
from aioapp.keys.text import as_object, count, grace, moment, nanodollars, row_of, terms, use
from aioapp.settings.location import database_path
from aioapp.store import Store
from aioapp.store.embedded import check_exists, open_store, reason_of

Asked = argparse.Namespace
Clock = Callable[[], datetime]
Answer = tuple[str, str]
"""What goes to standard output and to standard error."""
Work = Callable[[Store], Awaitable[Answer]]

REFUSED, UNUSABLE = 1, 2
ONCE = "This is shown once. Keep it where secrets are kept."


def run(argv: Sequence[str], environ: Mapping[str, str], *, clock: Clock = partial(datetime.now, UTC)) -> int:
    """Do what `argv` asks. Returns the exit status: 1 for a refusal, 2 for what cannot be used."""
    try:
        asked = parser().parse_args(argv)
    except SystemExit as end:  # it has told why
        return UNUSABLE if end.code else 0
    path = database_path(asked.database, environ)
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


def create(asked: Asked, at: datetime) -> Work:
    if (asked.budget is None) != (asked.per is None):
        raise ValueError("--budget and --per go together, such as --budget 10 --per day")
    key = Key(
        name=asked.name,
        admin=asked.admin,
        limits=Limits(**{row.name: getattr(asked, row.name) for row in fields(Limits)}),
        budget=asked.budget and Budget(nanodollars=asked.budget, per=asked.per),
        models=tuple(asked.models or ("*",)),
        created_at=at,
        expires_at=None if asked.expires is None else expiry(asked.expires, at=at),
    )

    async def work(store: Store) -> Answer:
        return await store.keys.create(key, by=None, at=at), f"{ONCE} {key.name}: {terms(key)}."

    return work


def show_all(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        keys = await store.keys.listed()
        if asked.json:
            return as_json({"keys": [as_object(key, at=at) for key in keys]}), ""
        if not keys:
            return "", "There are no keys."
        rows = [row_of(key, at=at) for key in keys]
        return aligned([list(rows[0]), *(list(row.values()) for row in rows)]), ""

    return work


def show(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        key, today = await store.keys.find(asked.name), at.date()
        spans = {"today": today, "month": today.replace(day=1)}
        used = {name: await store.usage.total(since=since, until=today, key=key.name)
                for name, since in spans.items()}
        if asked.json:
            return as_json(as_object(key, at=at) | used), ""
        facts = row_of(key, at=at) | {"created": moment(key.created_at), "revoked": moment(key.revoked_at)}
        return aligned(list((facts | {name: use(figures) for name, figures in used.items()}).items())), ""

    return work


def revoke(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        return f"{(await store.keys.revoke(asked.name, by=None, at=at)).name} is revoked.", ""

    return work


def rotate(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        key, shown = await store.keys.rotate(asked.name, by=None, at=at, grace=asked.grace)
        last = min(at + asked.grace, key.expires_at or END_OF_TIME)
        older = f"works until {moment(last)}" if asked.grace else "no longer works"
        return shown, f"{ONCE} The one before it {older}."

    return work


def aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def as_json(value: object) -> str:
    return json.dumps(value, indent=2)


def parser() -> argparse.ArgumentParser:
    """Without a usage, which argparse would put before its one line on what is wrong."""
    made = argparse.ArgumentParser(
        prog="aioapp keys", usage=argparse.SUPPRESS, allow_abbrev=False,
        description="Keys say who may use the server, and how much. With any key made, everybody needs one.")
    commands = made.add_subparsers(prog="aioapp keys", metavar="command", required=True)

    def command(name: str, work: Callable[[Asked, datetime], Work], *, help: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, usage=argparse.SUPPRESS, allow_abbrev=False, help=help, description=help)
        one.add_argument("--database", metavar="PATH", help="the server's [API_DATABASE; in the user's state folder]")
        one.set_defaults(work=work)
        if work is not show_all:
            one.add_argument("name", metavar="NAME")
        return one

    terms_of(command("create", create, help="make a key, and print it: this once"))
    for name, work, help in (("list", show_all, "list all keys"), ("show", show, "show one key's terms")):
        command(name, work, help=help).add_argument("--json", action="store_true", help="for programs")
    command("revoke", revoke, help="end a key, at once and for good")
    command("rotate", rotate, help="print a new secret for a key").add_argument(
        "--grace", type=taken(grace), default="24h", help="how long the one before it still works: 0s, 10m, 7d [24h]")
    return made


def terms_of(create: argparse.ArgumentParser) -> None:
    create.add_argument("--requests-per-minute", metavar="N", type=taken(count))
    create.add_argument("--tokens-per-minute", metavar="N", type=taken(count))
    create.add_argument("--concurrency", metavar="N", type=taken(count), help="generations at once")
    create.add_argument("--budget", metavar="USD", type=taken(nanodollars), help="dollars it may spend, with --per")
    create.add_argument("--per", choices=("day", "month"), help="what the budget is for, in UTC")
    create.add_argument("--models", metavar="GLOB", nargs="+", action="extend",
                        help="models it may use, in which * is any text [*]; after NAME")
    create.add_argument("--expires", metavar="DATE", help="its last day, in UTC, or a time with its offset")
    create.add_argument("--admin", action="store_true", help="let it manage keys and see everybody's usage")


def taken(parse: Callable[[str], object]) -> Callable[[str], object]:
    """`parse` for argparse, which tells a reason only of its own kind of error."""
    def take(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!a} is not {error}") from None

    return take
