"""What each of the commands for keys does."""
import json
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime

from aioapp.callers import UNUSED, Limits
from aioapp.cli.key_options import budget_of, patch_of
from aioapp.keys import Key, audit, expiry
from aioapp.keys.key import END_OF_TIME, TEXTS
from aioapp.keys.text import NONE, as_object, moment, row_of, terms, use
from aioapp.store import Store

Asked = Namespace
Answer = tuple[str, str]
"""What goes to standard output and to standard error."""
Work = Callable[[Store], Awaitable[Answer]]

ONCE = "This is shown once. Keep it where secrets are kept."


def create(asked: Asked, at: datetime) -> Work:
    key = Key(
        name=asked.name,
        admin=asked.admin,
        limits=Limits(**{row.name: getattr(asked, row.name) for row in fields(Limits)}),
        budget=budget_of(asked),
        models=tuple(asked.models or ("*",)),
        created_at=at,
        expires_at=None if asked.expires is None else expiry(asked.expires, at=at),
        **{name: getattr(asked, name) for name in TEXTS},
    )

    async def work(store: Store) -> Answer:
        return await store.keys.create(key, by=None, at=at), f"{ONCE} {key.name}: {terms(key)}."

    return work


def show_all(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        keys, standings = await store.keys.listed(), await store.usage.standings(at=at)
        standing = [standings.get(key.name, UNUSED) for key in keys]
        if asked.json:
            return as_json({"keys": [as_object(*each, at=at) for each in zip(keys, standing)]}), ""
        if not keys:
            return "", "There are no keys."
        return table([row_of(*each, at=at) for each in zip(keys, standing)]), ""

    return work


def show(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        key, today = await store.keys.find(asked.name), at.date()
        spans = {"today": today, "month": today.replace(day=1)}
        used = {name: await store.usage.total(since=since, until=today, key=key.name)
                for name, since in spans.items()}
        standing = (await store.usage.standings(at=at, key=key.name)).get(key.name, UNUSED)
        if asked.json:
            return as_json(as_object(key, standing, at=at) | used), ""
        facts = row_of(key, standing, at=at) | {
            "created": moment(key.created_at), "revoked": moment(key.revoked_at), "note": key.note or NONE}
        return aligned(list((facts | {name: use(figures) for name, figures in used.items()}).items())), ""

    return work


def update(asked: Asked, at: datetime) -> Work:
    patch = patch_of(asked, at=at)

    async def work(store: Store) -> Answer:
        key = await store.keys.update(asked.name, patch, by=None, at=at)
        return f"{key.name} is changed: {terms(key)}.", ""

    return work


def revoke(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        return f"{(await store.keys.revoke(asked.name, by=None, at=at)).name} is revoked.", ""

    return work


def forget(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        name = (await store.keys.forget(asked.name, by=None, at=at)).name
        return f"{name} is forgotten. What it used stays in the accounts, and counts for the next key of this name.", ""

    return work


def rotate(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        key, shown = await store.keys.rotate(asked.name, by=None, at=at, grace=asked.grace)
        last = min(at + asked.grace, key.expires_at or END_OF_TIME)
        older = f"works until {moment(last)}" if asked.grace else "no longer works"
        return shown, f"{ONCE} The one before it {older}."

    return work


def trail(asked: Asked, at: datetime) -> Work:
    async def work(store: Store) -> Answer:
        page = await store.keys.trail(limit=asked.limit, before=asked.before, key=asked.name)
        if asked.json:
            return as_json({"entries": list(map(audit.as_object, page.entries)), "next": page.next}), ""
        if not page.entries:
            return "", "Nothing was done."
        more = f"There are older entries: --before {page.next}." if page.next else ""
        return table(list(map(audit.row_of, page.entries))), more

    return work


def table(rows: Sequence[Mapping[str, str]]) -> str:
    return aligned([list(rows[0]), *(list(row.values()) for row in rows)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def as_json(value: object) -> str:
    return json.dumps(value, indent=2)
