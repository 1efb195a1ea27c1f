"""The options that say a key's terms, and what they say."""
import argparse
from collections.abc import Callable
from datetime import datetime
from typing import Any

from aioapp.callers import Budget
from aioapp.keys import expiry
from aioapp.keys.changes import LIMITS, Patch
from aioapp.keys.key import TEXTS
from aioapp.keys.text import count
from aioapp.money import nanodollars


def add_terms(create: argparse.ArgumentParser) -> None:
    create.add_argument("--requests-per-minute", metavar="N", type=taken(count))
    create.add_argument("--tokens-per-minute", metavar="N", type=taken(count))
    create.add_argument("--concurrency", metavar="N", type=taken(count), help="generations at once")
    create.add_argument("--budget", metavar="USD", type=taken(nanodollars), help="dollars it may spend, with --per")
    create.add_argument("--per", choices=("day", "month"), help="what the budget is for, in UTC")
    create.add_argument("--strict-budget", action="store_true", help="let relayed calls never exceed it either")
    create.add_argument("--models", metavar="GLOB", nargs="+", action="extend",
                        help="models it may use, in which * is any text [*]; after NAME")
    create.add_argument("--expires", metavar="DATE", help="its last day, in UTC, or a time with its offset")
    create.add_argument("--admin", action="store_true", help="let it manage keys and see everybody's usage")
    create.add_argument("--note", metavar="TEXT", help="anything, for people to read")
    create.add_argument("--owner", metavar="TEXT", help="who has it: a name, an e-mail address")


def add_changes(update: argparse.ArgumentParser) -> None:
    """Each option of `create`, and one that lifts it. What is not said is no part of what is parsed."""
    def change(name: str, *, help: str = "", **more: Any) -> None:
        either = update.add_mutually_exclusive_group()
        either.add_argument(f"--{name}", default=argparse.SUPPRESS, help=help, **more)
        either.add_argument(f"--no-{name}", dest=name.replace("-", "_"), action="store_const", const=None,
                            default=argparse.SUPPRESS)

    for limit in LIMITS:
        change(limit.replace("_", "-"), metavar="N", type=taken(count))
    change("budget", metavar="USD", type=taken(nanodollars), help="dollars it may spend")
    update.add_argument("--per", choices=("day", "month"), default=argparse.SUPPRESS, help="what the budget is for")
    change("strict-budget", action="store_const", const=True, help="let relayed calls never exceed it either")
    change("models", metavar="GLOB", nargs="+", action="extend", help="all that it may use from now on; after NAME")
    change("expires", metavar="DATE", help="its last day, in UTC, or a time with its offset")
    change("admin", action="store_const", const=True, help="let it manage keys and see everybody's usage")
    change("note", metavar="TEXT", help="anything, for people to read")
    change("owner", metavar="TEXT", help="who has it: a name, an e-mail address")


def patch_of(asked: argparse.Namespace, *, at: datetime) -> Patch:
    """What the options of `update` change. Raises `ValueError`."""
    said = vars(asked)
    patch = {name: said[name] for name in ("admin", *LIMITS, "models", *TEXTS) if name in said}
    if "expires" in said:
        patch["expires_at"] = None if said["expires"] is None else expiry(said["expires"], at=at)
    budget = {name: said[option] for option, name in (
        ("budget", "nanodollars"), ("per", "per"), ("strict_budget", "strict")) if option in said}
    if budget:
        patch["budget"] = budget
    if "budget" in said and said["budget"] is None:
        if len(budget) > 1:
            raise ValueError("--no-budget goes with neither --per nor --strict-budget")
        patch["budget"] = None
    if not patch:
        raise ValueError("say what to change, such as --budget 10; `aioapp keys update --help` has all options")
    return patch


def budget_of(asked: argparse.Namespace) -> Budget | None:
    if (asked.budget is None) != (asked.per is None):
        raise ValueError("--budget and --per go together, such as --budget 10 --per day")
    if asked.budget is None and asked.strict_budget:
        raise ValueError("--strict-budget needs a budget, such as --budget 10 --per day")
    return asked.budget and Budget(nanodollars=asked.budget, per=asked.per, strict=asked.strict_budget)


def taken(parse: Callable[[str], object]) -> Callable[[str], object]:
    """`parse` for argparse, which tells a reason only of its own kind of error."""
    def take(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!a} is not {error}") from None

    return take
