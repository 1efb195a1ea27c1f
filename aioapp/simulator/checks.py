"""What is wrong with a body, in Claude's words.

Only the first fault is told and no second is looked for, so each check may rely on those before it.
"""
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web

from aioapp.simulator.errors import ApiError, Json
from aioapp.simulator.models import EFFORTS, THINKING, Model
from aioapp.simulator.reserved import find_model
from aioapp.simulator.shapes import KNOWN, SAMPLING, TURN, Fields, extra_faults, parse, shape_faults

LATEST = "2026-10-21"       # the API's version that has no sampling any more
MOST_MESSAGES = 100_000
LEAST_BUDGET = 1024         # tokens
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType({      # the most and the default; the least is 0
    "temperature": (1, 1), "top_p": (1, 1), "top_k": (math.inf, 0),
})


async def read(request: web.Request, fields: Fields) -> tuple[Json, Model]:
    """The body of a request and the model it names, once all is in order. Raises ApiError."""
    body, beta = parse(await request.read()), asks_for_beta(request)
    old = {} if request.headers["anthropic-version"] == LATEST else SAMPLING
    refuse_first(shape_faults(body, {**fields, **old}))
    refuse_first(extra_faults(body, {**fields, **old}, known=KNOWN if beta else None))
    model = find_model(body["model"])
    if model.lifecycle == "retired" and "max_tokens" in fields:     # its tokens may still be counted
        raise ApiError(404, f"model: {body['model']}")
    refuse_first(fault for check in (CHECKS if beta else (*CHECKS, extra_turn_faults)) for fault in check(body, model))
    return body, model


def asks_for_beta(request: web.Request) -> bool:
    """Whether fields may come that are newer than those known here, as they do with every release of a client.

    The SDK says so with a header, Claude Code in the query too.
    """
    return "anthropic-beta" in request.headers or request.query.get("beta") == "true"


def refuse_first(faults: Iterator[str]) -> None:
    for fault in faults:
        raise ApiError(400, fault)


def token_faults(body: Json, model: Model) -> Iterator[str]:
    asked = body.get("max_tokens", 0)
    if asked < 0:
        yield "max_tokens: Input should be greater than or equal to 0"
    if asked > model.max_tokens:
        yield (f"max_tokens: {asked} > {model.max_tokens}, which is the maximum allowed number of output tokens "
               f"for {model.id}")


def message_faults(body: Json, model: Model) -> Iterator[str]:
    if not body["messages"]:
        yield "messages: at least one message is required"
    if len(body["messages"]) > MOST_MESSAGES:
        yield f"messages: List should have at most {MOST_MESSAGES} items"
    for index, message in enumerate(body["messages"]):
        yield from turn_faults(f"messages.{index}", message)
    yield from block_faults("system", body.get("system", ""))
    if body["messages"][-1]["role"] == "assistant" and model.version >= (4, 6):
        yield "This model does not support assistant message prefill. The conversation must end with a user message."


def turn_faults(path: str, message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield f"{path}: Input should be an object"
    yield from shape_faults(message, TURN, path=f"{path}.")
    if message["role"] not in ("user", "assistant", "system"):
        yield f'messages: Unexpected role "{message["role"]}". Allowed roles are "user", "assistant" or "system"'
    if not message["content"]:
        yield f"{path}: all messages must have non-empty content"
    yield from block_faults(f"{path}.content", message["content"])


def extra_turn_faults(body: Json, model: Model) -> Iterator[str]:
    for index, message in enumerate(body["messages"]):
        yield from extra_faults(message, TURN, path=f"messages.{index}.")


def block_faults(path: str, content: str | list[Any]) -> Iterator[str]:
    for index, block in enumerate(content if isinstance(content, list) else ()):
        match block:
            case {"type": "text", "text": ""}:
                yield f"{path.partition('.')[0]}: text content blocks must be non-empty"
            case {"type": str(kind), **rest} if kind != "text" or isinstance(rest.get("text"), str):
                pass
            case _:
                yield f"{path}.{index}: Input should be a content block"


def stop_faults(body: Json, model: Model) -> Iterator[str]:
    for index, stop in enumerate(body.get("stop_sequences", ())):
        if not isinstance(stop, str):
            yield f"stop_sequences.{index}: Input should be a valid string"
        elif not stop.strip():
            yield "stop_sequences: each stop sequence must contain non-whitespace"


def sampling_faults(body: Json, model: Model) -> Iterator[str]:
    for name, (most, default) in RANGES.items():
        value = body.get(name, default)
        if value != default and model.version >= (4, 7):
            yield f"`{name}` is deprecated for this model."
        if not 0 <= value <= most:
            yield f"{name}: range: 0..{most:g}"
    if model.version == (4, 5) and "temperature" in body and "top_p" in body:
        yield "`temperature` and `top_p` cannot both be specified for this model. Please use only one."


def thinking_faults(body: Json, model: Model) -> Iterator[str]:
    if "thinking" not in body:
        return
    kind, budget = body["thinking"].get("type"), body["thinking"].get("budget_tokens")
    if kind not in list(THINKING):      # in a list even what has no hash may be looked for
        yield f"thinking.type: Input should be one of {', '.join(THINKING)}"
    if kind not in model.thinking_types:
        yield THINKING[kind]
    if kind == "enabled" and (type(budget) is not int or budget < LEAST_BUDGET):
        yield f"thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_BUDGET}"
    if kind == "enabled" and budget >= body.get("max_tokens", math.inf):
        yield "`max_tokens` must be greater than `thinking.budget_tokens`."


def effort_faults(body: Json, model: Model) -> Iterator[str]:
    effort = body.get("output_config", {}).get("effort")
    if effort is None:
        return
    if effort not in list(EFFORTS):
        yield "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"
    if not model.efforts:
        yield "output_config.effort: This model does not support the effort parameter."
    if effort not in model.efforts:
        levels = ", ".join(sorted(model.efforts))
        yield f"This model does not support effort level '{effort}'. Supported levels: {levels}."


def choice_faults(body: Json, model: Model) -> Iterator[str]:
    tools = body.get("tools", ())
    match body.get("tool_choice"):
        case {"type": "any" | "tool"} if not tools:
            yield "tool_choice: may only be specified while providing tools"
        case {"type": "tool", "name": name} if not any(
                isinstance(tool, dict) and tool.get("name") == name for tool in tools):
            yield f"Tool '{name}' not found in provided tools"
        case {"type": "tool", **rest} if "name" not in rest:
            yield "tool_choice.tool.name: Field required"


CHECKS = (token_faults, message_faults, stop_faults, sampling_faults, thinking_faults, effort_faults, choice_faults)
