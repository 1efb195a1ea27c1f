"""Claude behind HTTP: REST, server-sent events and a native WebSocket, on aiohttp."""
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from aioapp.app import create_app, runner_of
    from aioapp.cli.serve import main
    from aioapp.endpoints import OPERATIONS
    from aioapp.messages.prompt import TextPrompt, Turn
    from aioapp.settings import Settings, from_environ
    from aioapp.web import fields
    from aioapp.web.access.policy import set_access
    from aioapp.web.context import CALLER
    from aioapp.web.endpoint import Handler
    from aioapp.web.operations.operation import Operation, prompt_of
    from aioapp.web.schemas import Answer, Body, Options

__all__ = [
    "CALLER", "OPERATIONS", "Answer", "Body", "Handler", "Operation", "Options", "Settings", "TextPrompt", "Turn",
    "create_app", "fields", "from_environ", "main", "prompt_of", "runner_of", "set_access",
]
HOMES = {
    "CALLER": "web.context",
    "OPERATIONS": "endpoints",
    "Answer": "web.schemas",
    "Body": "web.schemas",
    "Handler": "web.endpoint",
    "Operation": "web.operations.operation",
    "Options": "web.schemas",
    "Settings": "settings",
    "TextPrompt": "messages.prompt",
    "Turn": "messages.prompt",
    "create_app": "app",
    "from_environ": "settings",
    "main": "cli.serve",
    "prompt_of": "web.operations.operation",
    "runner_of": "app",
    "set_access": "web.access.policy",
}
"""The module that defines each name that programs of your own import. It is loaded when the name is first asked for
(PEP 562), so that `import aioapp` costs next to nothing. The guide shows them at work."""


def __getattr__(name: str) -> Any:
    if name == "fields":
        return import_module("aioapp.web.fields")
    if name in HOMES:
        return getattr(import_module(f"aioapp.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
