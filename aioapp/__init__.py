"""Claude behind HTTP: REST, server-sent events and a native WebSocket, on aiohttp."""
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from aioapp import errors
    from aioapp.app import create_app, runner_of
    from aioapp.cli.serve import main
    from aioapp.endpoints import OPERATIONS
    from aioapp.messages.prompt import TextPrompt, Turn
    from aioapp.settings import Settings, from_environ
    from aioapp.web import fields
    from aioapp.web.access.policy import set_access
    from aioapp.web.context import CALLER
    from aioapp.web.endpoint import Endpoint, Handler, json_response, read_body, read_query
    from aioapp.web.operations.ask import ASK_ERRORS, ReplyStream, ask, ask_stream
    from aioapp.web.operations.operation import Operation, prompt_of
    from aioapp.web.operations.reply import Reply
    from aioapp.web.schemas import Answer, Body, Options

__all__ = [
    "ASK_ERRORS", "CALLER", "OPERATIONS", "Answer", "Body", "Endpoint", "Handler", "Operation", "Options", "Reply",
    "ReplyStream", "Settings", "TextPrompt", "Turn", "ask", "ask_stream", "create_app", "errors", "fields",
    "from_environ", "json_response", "main", "prompt_of", "read_body", "read_query", "runner_of", "set_access",
]
HOMES = {
    "ASK_ERRORS": "web.operations.ask",
    "Answer": "web.schemas",
    "Body": "web.schemas",
    "CALLER": "web.context",
    "Endpoint": "web.endpoint",
    "Handler": "web.endpoint",
    "OPERATIONS": "endpoints",
    "Operation": "web.operations.operation",
    "Options": "web.schemas",
    "Reply": "web.operations.reply",
    "ReplyStream": "web.operations.ask",
    "Settings": "settings",
    "TextPrompt": "messages.prompt",
    "Turn": "messages.prompt",
    "ask": "web.operations.ask",
    "ask_stream": "web.operations.ask",
    "create_app": "app",
    "from_environ": "settings",
    "json_response": "web.endpoint",
    "main": "cli.serve",
    "prompt_of": "web.operations.operation",
    "read_body": "web.endpoint",
    "read_query": "web.endpoint",
    "runner_of": "app",
    "set_access": "web.access.policy",
}
"""The module that defines each name that programs of your own import. It is loaded when the name is first asked for
(PEP 562), so that `import aioapp` costs next to nothing. The README shows them at work."""


def __getattr__(name: str) -> Any:
    if name in ("errors", "fields"):
        return import_module("aioapp.errors" if name == "errors" else "aioapp.web.fields")
    if name in HOMES:
        return getattr(import_module(f"aioapp.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
