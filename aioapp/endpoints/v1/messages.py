"""`POST /v1/messages`, and the question that goes with it: how many tokens that would be."""
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from marshmallow import INCLUDE, Schema, fields, validate

from aioapp.endpoints.v1.passed import answer, ask, with_query
from aioapp.messages import raw_prompt
from aioapp.messages.named_models import LONGEST_MODEL, models_of
from aioapp.web.context import CALLER
from aioapp.web.endpoint import Endpoint
from aioapp.web.operations.large_bodies import LARGE_BODIES, looked_into
from aioapp.web.operations.operation import UPSTREAM_ERRORS
from aioapp.web.operations.relay import relay

JSON = "application/json"
MOST_TURNS = 100_000
"""As Claude has it."""
MESSAGE: Mapping[str, Any] = {
    "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "Hello!"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 3}}
STREAM: Mapping[str, Any] = {
    "type": "string", "examples": ['event: message_start\ndata: {"type":"message_start","message":{}}\n\n']}
EXAMPLE: Mapping[str, Any] = {
    "model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


class CountTokensBody(Schema):
    """Whatever Claude's Messages API takes; what is named here is looked at, and nothing is changed."""

    class Meta:
        unknown = INCLUDE

    model = fields.String(required=True, validate=validate.Length(max=LONGEST_MODEL))
    messages = fields.List(fields.Dict(), required=True, validate=validate.Length(min=1, max=MOST_TURNS))


class MessagesBody(CountTokensBody):
    max_tokens = fields.Integer(required=True)
    stream = fields.Boolean(metadata={"description": "Only `true` asks for a stream."})


async def count_tokens(request: web.Request) -> web.Response:
    async with request.app[LARGE_BODIES].read(request) as raw:
        for model in await looked_into(raw, lambda: models_of(raw_prompt.parsed(raw))):
            request[CALLER].check_model(model)
        return answer(await ask(request, with_query(request, "/v1/messages/count_tokens"), body=raw))


MESSAGES = Endpoint(
    name="messages", method="POST", path="/v1/messages", handler=relay, tag="Anthropic", shape="anthropic",
    summary="Claude's Messages API, passed on byte for byte", body=MessagesBody, example=EXAMPLE,
    description="For Claude Code and Anthropic's SDKs, with this server as their base URL and a key of it.",
    answers={200: {JSON: {"type": "object"}, "text/event-stream": STREAM}}, sample=MESSAGE,
    errors=UPSTREAM_ERRORS)

COUNT_TOKENS = Endpoint(
    name="countTokens", method="POST", path="/v1/messages/count_tokens", handler=count_tokens, tag="Anthropic",
    shape="anthropic", summary="How many tokens a prompt has", body=CountTokensBody,
    example={"model": EXAMPLE["model"], "messages": EXAMPLE["messages"]},
    description="It costs one request of your limit, and nothing else.", answers={200: {JSON: {"type": "object"}}},
    sample={"input_tokens": 12}, errors=UPSTREAM_ERRORS)
