"""What a program of your own needs to add to the server: an operation, a route, a middleware, a way to start.

The README shows each of them at work.
"""
from aioapp.app import create_app, runner_of
from aioapp.cli.serve import main
from aioapp.endpoints import OPERATIONS
from aioapp.messages.prompt import Prompt, Turn
from aioapp.settings import Settings, from_environ
from aioapp.web import fields
from aioapp.web.access.policy import set_access
from aioapp.web.context import CLIENT
from aioapp.web.endpoint import Handler
from aioapp.web.operations.operation import Operation, prompt_of
from aioapp.web.schemas import Answer, Body, Options

__all__ = [
    "CLIENT", "OPERATIONS", "Answer", "Body", "Handler", "Operation", "Options", "Prompt", "Settings", "Turn",
    "create_app", "fields", "from_environ", "main", "prompt_of", "runner_of", "set_access",
]
