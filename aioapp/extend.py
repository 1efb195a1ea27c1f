"""The old place of what programs of your own import, which is `aioapp` itself now. It goes with the next release."""
from typing import TYPE_CHECKING, Any
from warnings import warn

import aioapp

if TYPE_CHECKING:
    from aioapp import (
        CALLER as CLIENT, OPERATIONS, Answer, Body, Handler, Operation, Options, Settings, TextPrompt as Prompt, Turn,
        create_app, fields, from_environ, main, prompt_of, runner_of, set_access,
    )

__all__ = [
    "CLIENT", "OPERATIONS", "Answer", "Body", "Handler", "Operation", "Options", "Prompt", "Settings", "Turn",
    "create_app", "fields", "from_environ", "main", "prompt_of", "runner_of", "set_access",
]
RENAMED = {"CLIENT": "CALLER", "Prompt": "TextPrompt"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = RENAMED.get(name, name)
    warn(f"aioapp.extend.{name} is aioapp.{new} now", DeprecationWarning, stacklevel=2)
    return getattr(aioapp, new)
