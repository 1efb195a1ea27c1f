"""An operation's answer in one piece: one JSON body in, one JSON answer out."""
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from aioapp.web.endpoint import Endpoint, json_response, read_body
from aioapp.web.operations.exchange import prepared, requested
from aioapp.web.operations.operation import UPSTREAM_ERRORS, Operation
from aioapp.web.schemas import SAMPLE
from aioapp.web.validation import loaded


def rest(operation: Operation) -> Endpoint:
    """The operation's REST form."""
    schema = operation.body()

    async def handle(request: web.Request) -> web.Response:
        body: Mapping[str, Any] = await read_body(request, schema)
        if operation.prepare is not None:
            body = await prepared(request, operation, body=body)
        return json_response(await requested(request, operation, body=body, live=False).whole())

    return Endpoint(
        name=operation.name, method="POST", path=operation.path, handler=handle, tag="Claude",
        summary=operation.summary, description=operation.description, body=operation.body, example=operation.example,
        answers={200: {"application/json": operation.answer}}, sample=sample(operation),
        errors=(*UPSTREAM_ERRORS, *operation.errors))


def sample(operation: Operation) -> Mapping[str, Any] | None:
    """What the operation's example might be answered, if that is known. Raises where the example is not valid."""
    body = loaded(operation.body(), operation.example)
    if operation.sample is not None or operation.works or operation.prepare is not None:
        return operation.sample
    prompt = operation.prompt(body)
    return {**SAMPLE, "prompt": prompt.text, **operation.extra(prompt)}
