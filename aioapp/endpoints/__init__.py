"""The table of contents: everything that is served, one feature a file.

A new operation is one file here and its name in `OPERATIONS`; it then has a REST form, an SSE form and a place on the
WebSocket.
"""
from collections import Counter
from collections.abc import Sequence

from aioapp.endpoints import auth_status, docs, health, root
from aioapp.endpoints.admin import ADMIN
from aioapp.endpoints.chat import CHAT
from aioapp.endpoints.generate import GENERATE
from aioapp.endpoints.guide import guide
from aioapp.endpoints.metrics import METRICS
from aioapp.endpoints.usage import USAGE
from aioapp.endpoints.v1 import V1
from aioapp.web.endpoint import Endpoint
from aioapp.web.operations.operation import Operation
from aioapp.web.operations.rest import rest
from aioapp.web.operations.sse import stream
from aioapp.web.operations.websocket import websocket

OPERATIONS: tuple[Operation, ...] = (GENERATE, CHAT)


def endpoints(operations: Sequence[Operation] = OPERATIONS, own: Sequence[Endpoint] = ()) -> tuple[Endpoint, ...]:
    """Everything that a server of `operations` and of your `own` endpoints serves, in the order in which it is
    documented. Raises `ValueError` where two are one."""
    forms = [form(operation) for operation in operations for form in (rest, stream)]
    served = (*forms, websocket(operations, path="/ws/generate"), *V1,
              root.ROOT, health.HEALTH, health.READY, health.LIVE, auth_status.AUTH_STATUS, USAGE, METRICS,
              *ADMIN, *own)
    return told_apart((*served, *docs.pages(served, operations), *guide()))


def told_apart(served: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """They, if no two have one name, or one path: only the first would be served."""
    for what, found in (("called {}", [endpoint.name for endpoint in served if endpoint.documented]),
                        ("at {}", [f"{endpoint.method} {endpoint.path}" for endpoint in served])):
        for name, times in Counter(found).items():
            if times > 1:
                raise ValueError(f"There are {times} endpoints {what.format(name)}.")
    return served
