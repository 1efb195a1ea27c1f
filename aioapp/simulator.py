"""The Messages API on loopback, for trying and testing: real HTTP, no credentials, no bill, no model.

    python -m aioapp.simulator --port 8099          # then ANTHROPIC_BASE_URL=http://127.0.0.1:8099, any key

It behaves as the sources of `anthropic` 2.12.0, the public documentation and reports of others say that Claude does;
nothing in it was held against the real API. The same prompt gets the same answer; "count to 20" gets just that.
A key or token with `invalid` in it is refused, and some model names ask for trouble:

    simulate-429        429 rate_limit_error, with `retry-after: 1`
    simulate-500        500 api_error
    simulate-529        529 overloaded_error
    simulate-slow       answers, but the first byte takes half a minute (`create_simulator(slow=…)`)
    simulate-cut        the connection ends in the middle of the stream, or of the body
    simulate-error      an `error` event (overloaded_error) in the middle of the stream; 529 when not streamed
    simulate-refusal    an empty answer with stop reason `refusal` and its stop details

Other `simulate-` names and unknown `claude-` names get 404. Any further name is taken for a custom deployment: it
answers like the newest Sonnet, but thinks only when asked to.
"""
import argparse
import asyncio
import json
import math
import re
import signal
import sys
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from types import MappingProxyType, NoneType
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from yarl import URL

Json = dict[str, Any]
Fields = Mapping[str, tuple[type, ...]]

BODY_LIMIT = 32 * 2**20     # bytes
FIRST_TOKEN = 0.3           # seconds, at pace 1
TOKEN = 0.02                # seconds, at pace 1
SLOW = 30.0                 # seconds, at any pace
MOST_MESSAGES = 100_000
LEAST_BUDGET = 1024         # tokens
LONGEST_COUNT = 128_000     # more numbers than any model may say

EPOCH = "1970-01-01"        # the release date of a model whose date is unknown, as the SDK's ModelInfo has it
LATEST = "2026-10-21"
VERSIONS = ("2023-06-01", LATEST)
ERROR_TYPES: Mapping[int, str] = MappingProxyType({
    401: "authentication_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
    500: "api_error", 529: "overloaded_error",
})
OVERLOADED = (529, "Overloaded")
REFUSED: Mapping[str, tuple[int, str]] = MappingProxyType({
    "simulate-429": (429, "This request would exceed your organization's rate limit."),
    "simulate-500": (500, "Internal server error"),
    "simulate-529": OVERLOADED,
})
TROUBLED = frozenset({"simulate-slow", "simulate-cut", "simulate-error", "simulate-refusal"})
RATE_LIMITS = (("requests", 4_000), ("tokens", 2_400_000), ("input-tokens", 2_000_000), ("output-tokens", 400_000))

EFFORTS: Mapping[str, tuple[int, int]] = MappingProxyType({     # level, and the version that brought it
    "low": (4, 5), "medium": (4, 5), "high": (4, 5), "xhigh": (4, 7), "max": (4, 6),
})
THINKING: Mapping[str, str] = MappingProxyType({    # what a model says that does not take the type
    "adaptive": "adaptive thinking is not supported on this model",
    "between_tools": '"thinking.type.between_tools" is not supported for this model.',
    "disabled": '"thinking.type.disabled" is not supported for this model. Thinking defaults to adaptive mode when '
                "not specified.",
    "enabled": '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
               '"output_config.effort" to control thinking behavior.',
})
REFUSAL = {"type": "refusal", "category": "general_harms", "explanation": "The simulator was asked to refuse."}

REQUIRED = ("model", "max_tokens", "messages")
EXPECTED: Mapping[type, str] = MappingProxyType({
    str: "a valid string", int: "a valid integer", float: "a valid number", bool: "a valid boolean",
    list: "a valid list", dict: "an object",
})
COUNTED: Fields = MappingProxyType({
    "model": (str,), "messages": (list,), "system": (str, list), "tools": (list,), "tool_choice": (dict,),
    "thinking": (dict,), "output_config": (dict,), "cache_control": (dict, NoneType), "speed": (str, NoneType),
})
CREATED: Fields = MappingProxyType({
    **COUNTED, "max_tokens": (int,), "stream": (bool,), "stop_sequences": (list,), "metadata": (dict,),
    "service_tier": (str,), "container": (str, dict, NoneType), "diagnostics": (dict, NoneType),
    "inference_geo": (str, NoneType),
})
BETA: Fields = MappingProxyType(dict.fromkeys((
    "billing_policy", "compaction", "context_management", "fallback_credit_token", "fallbacks", "mcp_servers",
    "thread", "user_profile_id",
), (*EXPECTED, NoneType)))
SAMPLING: Fields = MappingProxyType({"temperature": (float, int), "top_p": (float, int), "top_k": (int,)})
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType({      # the most and the default; the least is 0
    "temperature": (1, 1), "top_p": (1, 1), "top_k": (math.inf, 0),
})

PIECE = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+")
COUNTING = re.compile(r"\bcount (?:up )?to ([0-9]{1,9})", re.IGNORECASE)
TOPIC = re.compile(r"[^\W\d_]{4,24}")
THOUGHT = "The user writes about {topic}. A few sentences and a short list should do; I need not look anything up."
ANSWER = """You wrote about {topic} — and this is the simulator's answer, which has counted your {words} words and \
understood none of them. It is turn {turn} of our conversation.

What you may rely on:
- The same prompt gets the same answer, to the last character.
- Limits and stop sequences are kept, and every token is counted.
- No model was asked, however naïve the question.

Ask me to count to a number when you need an answer of a known length."""


class ApiError(Exception):
    """A refusal in Claude's words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds: before the first token, per token, and before the first byte of `simulate-slow`."""

    first: float
    token: float
    slow: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as `GET /v1/models` lists it; what it accepts follows from its line and version."""

    id: str
    line: str
    version: tuple[int, int]
    released: str = EPOCH
    lifecycle: str = "active"
    retires: str | None = None

    @property
    def max_input_tokens(self) -> int:
        return 1_000_000 if self.version >= (4, 6) else 200_000

    @property
    def max_tokens(self) -> int:
        return 128_000 if self.version >= (4, 6) else 64_000

    @property
    def efforts(self) -> tuple[str, ...]:
        if self.version == (4, 5) and self.line != "opus":
            return ()
        return tuple(level for level, since in EFFORTS.items() if self.version >= since)

    @property
    def thinking_types(self) -> frozenset[str]:
        always = self.line in ("fable", "mythos") or (self.line in ("opus", "sonnet") and self.version >= (5, 5))
        takes = {"adaptive": self.version >= (4, 6), "enabled": self.version <= (4, 6),
                 "between_tools": self.version >= (5, 0), "disabled": not always}
        return frozenset(kind for kind, taken in takes.items() if taken)

    @property
    def thinks_unasked(self) -> bool:
        return self.version >= (5, 0) and self.line != "custom"


def _listed(line: str, version: str, released: str = EPOCH, snapshot: str = "", **more: str) -> tuple[str, Model]:
    alias = f"claude-{line}-{version.replace('.', '-')}"
    # The preview has no number; it takes what 4.7 takes.
    major, _, minor = (version if version != "preview" else "4.7").partition(".")
    number = int(major), int(minor or 0)
    return alias, Model(id=alias + snapshot, line=line, version=number, released=released, **more)


MODELS: Mapping[str, Model] = MappingProxyType(dict((       # SDK's ModelParam; dates from the release notes
    _listed("fable", "5.2", "2026-11-09"),
    _listed("mythos", "5.2", "2026-11-09"),
    _listed("haiku", "5.5", "2026-10-07"),
    _listed("sonnet", "5.5", "2026-09-28"),
    _listed("opus", "5.5"),
    _listed("fable", "5.1", "2026-09-01"),
    _listed("mythos", "5.1", "2026-09-01"),
    _listed("opus", "5", "2026-07-24"),
    _listed("sonnet", "5", "2026-06-30"),
    _listed("fable", "5", "2026-06-09"),
    _listed("mythos", "5", "2026-06-09"),
    _listed("opus", "4.8", "2026-05-28"),
    _listed("opus", "4.7", "2026-04-16"),
    _listed("mythos", "preview", lifecycle="retired", retires="2026-06-30"),
    _listed("sonnet", "4.6", "2026-02-17"),
    _listed("opus", "4.6", "2026-02-05"),
    _listed("opus", "4.5", "2025-11-24", "-20251101"),
    _listed("haiku", "4.5", "2025-10-15", "-20251001"),
    _listed("sonnet", "4.5", "2025-09-29", "-20250929", lifecycle="deprecated", retires="2026-11-30"),
)))
NEWEST_SONNET = MODELS["claude-sonnet-5-5"]


def find_listed(name: str) -> Model:
    """The model under its alias or with a date behind it. Raises ApiError (404)."""
    alias = re.sub(r"-20[0-9]{6}$", "", name)
    if alias not in MODELS:
        raise ApiError(404, f"model: {name}")
    return MODELS[alias] if name == alias else replace(MODELS[alias], id=name)


def find_model(name: str) -> Model:
    """The model that is to answer. Raises ApiError: 404, or what a reserved name asks for."""
    if name in REFUSED:
        raise ApiError(*REFUSED[name])
    if name in TROUBLED or not name.startswith(("claude-", "simulate-")):
        return replace(NEWEST_SONNET, id=name, line="custom")
    model = find_listed(name)
    if model.lifecycle == "retired":
        raise ApiError(404, f"model: {name}")
    return model


def _flags(names: Iterable[str], supported: Iterable[str]) -> Json:
    return {name: {"supported": name in supported} for name in names}


def describe(model: Model) -> Json:
    """The model as the SDK's ModelInfo has it."""
    always = ("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs")
    strategies = ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")
    tools = ("code_execution", "web_search")
    version = model.id.removeprefix(f"claude-{model.line}-")
    return {
        "id": model.id, "type": "model", "line": model.line, "lifecycle": model.lifecycle,
        "display_name": f"Claude {model.line} {re.sub('-20[0-9]{6}$', '', version).replace('-', '.')}".title(),
        "created_at": f"{model.released}T00:00:00Z", "deprecated_at": None,
        "retires_at": model.retires and f"{model.retires}T00:00:00Z",
        "max_input_tokens": model.max_input_tokens, "max_tokens": model.max_tokens,
        "capabilities": {
            **_flags(always, always),
            "context_management": {"supported": True, **_flags(strategies, strategies)},
            "effort": {"supported": bool(model.efforts), **_flags(EFFORTS, model.efforts)},
            "server_tools": {"supported": True, **_flags(tools, tools)},
            "thinking": {"supported": True, "types": _flags(THINKING, model.thinking_types)},
        },
    }


# What is wrong with a body. Only the first fault is told, so each check may rely on those before it.

def shape_faults(body: Json, fields: Fields) -> Iterator[str]:
    yield from (f"{name}: Field required" for name in REQUIRED if name in fields and name not in body)
    for name, value in body.items():
        if name not in fields:
            yield f"{name}: Extra inputs are not permitted"
        elif type(value) not in fields[name]:       # not isinstance: true is no integer
            yield f"{name}: Input should be {EXPECTED[fields[name][0]]}"


def message_faults(body: Json, model: Model) -> Iterator[str]:
    if not body["messages"]:
        yield "messages: at least one message is required"
    if len(body["messages"]) > MOST_MESSAGES:
        yield f"messages: List should have at most {MOST_MESSAGES} items"
    for index, message in enumerate(body["messages"]):
        yield from turn_faults(f"messages.{index}", message)
    if isinstance(body.get("system"), list):
        yield from content_faults("system", body["system"])
    if body["messages"][-1]["role"] == "assistant" and model.version >= (4, 6):
        yield ("This model does not support assistant message prefill. "
               "The conversation must end with a user message.")


def turn_faults(path: str, message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield f"{path}: Input should be an object"
    yield from (f"{path}.{name}: Field required" for name in ("role", "content") if name not in message)
    yield from (f"{path}.{name}: Extra inputs are not permitted" for name in message if name not in ("role", "content"))
    if message["role"] not in ("user", "assistant", "system"):
        yield f'messages: Unexpected role "{message["role"]}". Allowed roles are "user", "assistant" or "system"'
    if message["content"] in ("", []):
        yield f"{path}: all messages must have non-empty content"
    yield from content_faults(f"{path}.content", message["content"])


def content_faults(path: str, content: Any) -> Iterator[str]:
    if not isinstance(content, str | list):
        yield f"{path}: Input should be a valid list"
    for index, block in enumerate(content if isinstance(content, list) else ()):
        match block:
            case {"type": "text", "text": ""}:
                yield f"{path.partition('.')[0]}: text content blocks must be non-empty"
            case {"type": "text", "text": str()}:
                pass
            case {"type": str(kind)} if kind != "text":
                pass
            case _:
                yield f"{path}.{index}: Input should be a content block"


def token_faults(body: Json, model: Model) -> Iterator[str]:
    asked = body.get("max_tokens", 0)
    if asked < 0:
        yield "max_tokens: Input should be greater than or equal to 0"
    if asked > model.max_tokens:
        yield (f"max_tokens: {asked} > {model.max_tokens}, which is the maximum allowed number of output tokens "
               f"for {model.id}")


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
    match body.get("thinking"):
        case {"type": "enabled", **rest} if "enabled" in model.thinking_types:
            yield from budget_faults(rest.get("budget_tokens"), body.get("max_tokens", math.inf))
        case {"type": str(kind)} if kind in THINKING:
            yield from () if kind in model.thinking_types else (THINKING[kind],)
        case dict():
            yield f"thinking.type: Input should be one of {', '.join(THINKING)}"


def budget_faults(budget: Any, max_tokens: float) -> Iterator[str]:
    if type(budget) is not int or budget < LEAST_BUDGET:
        yield f"thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_BUDGET}"
    if budget >= max_tokens:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`."


def effort_faults(body: Json, model: Model) -> Iterator[str]:
    effort = body.get("output_config", {}).get("effort")
    if effort is None:
        return
    if effort not in list(EFFORTS):     # in a list even what has no hash may be looked for
        yield "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"
    if not model.efforts:
        yield "output_config.effort: This model does not support the effort parameter."
    if effort not in model.efforts:
        yield (f"This model does not support effort level '{effort}'. "
               f"Supported levels: {', '.join(sorted(model.efforts))}.")


CHECKS: tuple[Callable[[Json, Model], Iterator[str]], ...] = (
    token_faults, message_faults, stop_faults, sampling_faults, thinking_faults, effort_faults,
)


def refuse_first(faults: Iterator[str]) -> None:
    """Raises ApiError (400) for the first fault, and looks for no second."""
    for fault in faults:
        raise ApiError(400, fault)


def parse(raw: bytes) -> Json:
    """The JSON object in `raw`. Raises ApiError (400), and RecursionError for one too deep."""
    try:
        body = json.loads(raw.decode())
        # A second look refuses what Python reads but JSON has not: NaN, infinities, halves of surrogate pairs.
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as fault:
        raise ApiError(400, f"The request body is not valid JSON: {fault}") from fault
    if not isinstance(body, dict):
        raise ApiError(400, "Input should be an object")
    return body


async def read(request: web.Request, fields: Fields) -> tuple[Json, Model]:
    """The body of a request and the model it names, once all is in order. Raises ApiError."""
    body = parse(await request.read())
    old = {} if request.headers["anthropic-version"] == LATEST else SAMPLING
    beta = BETA if request.query.get("beta") == "true" else {}
    refuse_first(shape_faults(body, {**fields, **old, **beta}))
    model = find_model(body["model"])
    for check in CHECKS:
        refuse_first(check(body, model))
    return body, model


# The answer: text first, then its tokens, blocks, message and events.

@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model thought and said, in tokens, and why it stopped."""

    thought: Sequence[str] = ()
    said: Sequence[str] = ()
    stop_reason: str
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A content block: whole, as its start event has it, and its deltas."""

    whole: Json
    opening: Json
    deltas: Sequence[Json]


def text_of(content: str | list[Json]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def compose(messages: Sequence[Json]) -> tuple[str, str]:
    """The thought and the text that answer the conversation; the same for the same."""
    prompt = next((text_of(turn["content"]) for turn in reversed(messages) if turn["role"] == "user"), "")
    topic = ", ".join(list(dict.fromkeys(TOPIC.findall(prompt)))[:3]) or "nothing in particular"
    if counting := COUNTING.search(prompt):
        text = ", ".join(map(str, range(1, min(int(counting[1]), LONGEST_COUNT) + 1)))
    else:
        turns = sum(role == "user" for role, _ in groupby(turn["role"] for turn in messages))
        text = ANSWER.format(topic=topic, words=len(prompt.split()), turn=turns)
    return THOUGHT.format(topic=topic), text


def cut_at(text: str, stops: Iterable[str]) -> tuple[str, str | None]:
    """`text` up to the stop sequence that is complete first, and that sequence."""
    ends = [(at + len(stop), stop) for stop in stops if (at := text.find(stop)) >= 0]
    if not ends:
        return text, None
    end, stop = min(ends)
    return text[:end - len(stop)], stop


def thinks(body: Json, model: Model) -> bool:
    match body.get("thinking"):
        case {"type": "adaptive" | "enabled"}:
            return True
        case {"type": str()}:
            return False
        case _:
            return model.thinks_unasked


def generate(body: Json, model: Model) -> Answer:
    """The answer within `max_tokens`, which covers thinking and text."""
    if model.id == "simulate-refusal":
        return Answer(stop_reason="refusal")
    thought, text = compose(body["messages"])
    text, stop = cut_at(text, body.get("stop_sequences", ()))
    thinking = PIECE.findall(thought) if thinks(body, model) else []
    said, limit = PIECE.findall(text), body["max_tokens"]
    if len(thinking) + len(said) > limit:
        return Answer(thought=thinking[:limit], said=said[:max(0, limit - len(thinking))], stop_reason="max_tokens")
    reason = "end_turn" if stop is None else "stop_sequence"
    return Answer(thought=thinking, said=said, stop_reason=reason, stop_sequence=stop)


def blocks_of(answer: Answer, *, omitted: bool) -> Iterator[Block]:
    """The answer's blocks, thinking before text; `omitted` leaves only the signature of a thought."""
    if answer.thought:
        signature = b64encode(sha256("".join(answer.thought).encode()).digest()).decode()
        shown = () if omitted else answer.thought
        yield Block(
            whole={"type": "thinking", "thinking": "".join(shown), "signature": signature},
            opening={"type": "thinking", "thinking": "", "signature": ""},
            deltas=[*({"type": "thinking_delta", "thinking": piece} for piece in shown),
                    {"type": "signature_delta", "signature": signature}],
        )
    if answer.said:
        yield Block(
            whole={"type": "text", "text": "".join(answer.said)},
            opening={"type": "text", "text": ""},
            deltas=[{"type": "text_delta", "text": piece} for piece in answer.said],
        )


def estimate(body: Json) -> int:
    """Input tokens: a quarter of the prompt's bytes, near enough to the truth and the same every time."""
    prompt = [body.get("system"), body["messages"], body.get("tools")]
    return math.ceil(len(json.dumps(prompt, ensure_ascii=False).encode()) / 4)


def usage_of(body: Json, answer: Answer) -> Json:
    # An answer without content costs a token too, unless it was only to warm the cache.
    spent = len(answer.thought) + len(answer.said) or min(1, body["max_tokens"])
    return {
        "input_tokens": estimate(body), "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": spent, "output_tokens_details": {"thinking_tokens": len(answer.thought)},
        "service_tier": "standard", "inference_geo": "global",
    }


def message_of(body: Json, model: Model, answer: Answer, blocks: Iterable[Block]) -> Json:
    return {
        "id": new_id("msg"), "type": "message", "role": "assistant", "model": model.id,
        "content": [block.whole for block in blocks], "stop_reason": answer.stop_reason,
        "stop_sequence": answer.stop_sequence, "stop_details": REFUSAL if answer.stop_reason == "refusal" else None,
        "usage": usage_of(body, answer),
    }


def events_of(message: Json, blocks: Iterable[Block]) -> Iterator[Json]:
    """The message as a stream of events, in Claude's order."""
    stop = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    usage = message["usage"]
    begun = {"output_tokens": min(1, usage["output_tokens"]), "output_tokens_details": {"thinking_tokens": 0}}
    yield {"type": "message_start",
           "message": {**message, **dict.fromkeys(stop), "content": [], "usage": {**usage, **begun}}}
    for index, block in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block.opening}
        if index == 0:
            yield {"type": "ping"}
        yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in block.deltas)
        yield {"type": "content_block_stop", "index": index}
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", *begun)
    yield {"type": "message_delta", "delta": stop, "usage": {name: usage[name] for name in names}}
    yield {"type": "message_stop"}


# The wire.

TIMING = web.AppKey("timing", Timing)
REQUEST_ID = web.RequestKey("request_id", str)


def new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:24]}"


def request_id(request: web.Request) -> str:
    if REQUEST_ID not in request:
        request[REQUEST_ID] = new_id("req")
    return request[REQUEST_ID]


def encode(value: Json) -> bytes:
    # `replace`: a path, unlike a body, may bring bytes that are no UTF-8 into an error's message.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def as_json(value: Json, status: int = 200) -> web.Response:
    return web.Response(body=encode(value), status=status, content_type="application/json")


def error_of(status: int, message: str) -> Json:
    return {"type": "error", "error": {"type": ERROR_TYPES.get(status, "invalid_request_error"), "message": message}}


async def create_message(request: web.Request) -> web.StreamResponse:
    """POST /v1/messages"""
    body, model = await read(request, CREATED)
    answer, timing = generate(body, model), request.app[TIMING]
    blocks = list(blocks_of(answer, omitted=body.get("thinking", {}).get("display") == "omitted"))
    message = message_of(body, model, answer, blocks)
    await asyncio.sleep(timing.slow if model.id == "simulate-slow" else timing.first)
    if body.get("stream"):
        return await send_events(request, model, list(events_of(message, blocks)))
    await asyncio.sleep(timing.token * message["usage"]["output_tokens"])
    return await send_whole(request, model, encode(message))


async def send_whole(request: web.Request, model: Model, payload: bytes) -> web.StreamResponse:
    if model.id == "simulate-error":
        raise ApiError(*OVERLOADED)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
    response.content_length = len(payload)
    cut = model.id == "simulate-cut"
    return await send(request, response, [(0.0, payload[:len(payload) // 2] if cut else payload)], cut=cut)


async def send_events(request: web.Request, model: Model, events: Sequence[Json]) -> web.StreamResponse:
    half = events[:len(events) // 2]
    match model.id:
        case "simulate-cut":
            events = half
        case "simulate-error":
            events = [*half, error_of(*OVERLOADED)]
    token = request.app[TIMING].token
    frames = [(token if event["type"] == "content_block_delta" else 0.0, frame(event)) for event in events]
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
                                           hdrs.CACHE_CONTROL: "no-cache"})
    at_once = [(0.0, b"".join(data for _, data in frames))]
    return await send(request, response, frames if token else at_once, cut=model.id == "simulate-cut")


def frame(event: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event))


async def send(request: web.Request, response: web.StreamResponse, frames: Iterable[tuple[float, bytes]], *,
               cut: bool) -> web.StreamResponse:
    """Write each frame after its seconds; `cut` then ends the connection without the end of the body."""
    try:
        await response.prepare(request)
        for wait, data in frames:
            await asyncio.sleep(wait)
            await response.write(data)
    except ConnectionError:
        return response     # the client hung up: there is nobody left to tell, and aiohttp would log a false 500
    if cut:
        request.protocol.force_close()
    return response


async def count_tokens(request: web.Request) -> web.Response:
    """POST /v1/messages/count_tokens"""
    body, _ = await read(request, COUNTED)
    return as_json({"input_tokens": estimate(body)})


async def list_models(request: web.Request) -> web.Response:
    """GET /v1/models: retired ones only when the caller asks for them."""
    query = request.query
    stages = query.getall("lifecycle[]", ["active", "deprecated"])
    models = [model for model in MODELS.values() if model.lifecycle in stages]
    start = place(models, query["after_id"]) + 1 if "after_id" in query else 0
    end = place(models, query["before_id"]) if "before_id" in query else len(models)
    limit, found = page_limit(query.get("limit", "20")), models[start:end]
    page = found[-limit:] if "before_id" in query else found[:limit]
    return as_json({
        "data": [describe(model) for model in page], "has_more": len(found) > limit,
        "first_id": page[0].id if page else None, "last_id": page[-1].id if page else None,
    })


def page_limit(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= 1000:
        raise ApiError(400, "limit: Input should be a valid integer from 1 to 1000")
    return int(text)


def place(models: Sequence[Model], name: str) -> int:
    ids = [model.id for model in models]
    if name not in ids:
        raise ApiError(400, f"Invalid cursor: {name}")
    return ids.index(name)


async def show_model(request: web.Request) -> web.Response:
    """GET /v1/models/{id}"""
    return as_json(describe(find_listed(request.match_info["id"])))


async def greet(request: web.Request) -> web.Response:
    """GET and HEAD /, with which clients try whether anybody is there."""
    return web.Response(text="The Messages API, simulated.\n")


def admit(headers: Mapping[str, str]) -> None:
    """Raises ApiError: 401 for the credentials, 400 for the API's version."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key, bearer = headers.get("x-api-key", ""), token if scheme.lower() == "bearer" else ""
    if not key and not bearer:
        raise ApiError(401, "x-api-key header is required")
    if "invalid" in key:
        raise ApiError(401, "invalid x-api-key")
    if "invalid" in bearer:
        raise ApiError(401, "Invalid bearer token")
    if "anthropic-version" not in headers:
        raise ApiError(400, "anthropic-version: header is required")
    if headers["anthropic-version"] not in VERSIONS:
        raise ApiError(400, f'anthropic-version: "{headers["anthropic-version"]}" is not a valid version')


@web.middleware
async def in_claudes_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Admits requests, and answers all that fail as Claude does."""
    try:
        if request.path.startswith("/v1/") and request.match_info.http_exception is None:
            admit(request.headers)
        return await handler(request)
    except ApiError as error:
        status, message = error.status, error.message
    except web.HTTPRequestEntityTooLarge:
        status, message = 413, "Request exceeds the maximum size"
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
        status, message = error.status, error.reason
    except web.RequestPayloadError:
        status, message = 400, "The request body could not be read"
    except RecursionError:
        status, message = 400, "The request body is nested too deeply"
    return as_json({**error_of(status, message), "request_id": request_id(request)}, status)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """What Claude puts on every answer; the limits never run dry."""
    response.headers["request-id"] = request_id(request)
    response.headers["anthropic-organization-id"] = "00000000-0000-4000-8000-000000000000"
    if response.status == 429:
        response.headers["retry-after"] = "1"
    if request.path != "/v1/messages":
        return
    reset = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, limit in RATE_LIMITS:
        for what, value in (("limit", limit), ("remaining", limit - 1), ("reset", reset)):
            response.headers[f"anthropic-ratelimit-{name}-{what}"] = str(value)


def create_simulator(*, pace: float = 1.0, slow: float = SLOW) -> web.Application:
    """The simulated API.

    `pace` stretches every wait: 1 is a human pace (0.3 s to the first token, then 50 a second), 0 is at once and in
    one write. `slow` is the wait of `simulate-slow` in seconds, at any pace. Run it with `handler_cancellation=True`
    and an answer ends as soon as its reader is gone; else with the next token. Raises ValueError for a bad pace.
    """
    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[in_claudes_shape])
    app[TIMING] = Timing(first=FIRST_TOKEN * to_pace(pace), token=TOKEN * to_pace(pace), slow=slow)
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/", greet)
    app.router.add_post("/v1/messages", create_message)
    app.router.add_post("/v1/messages/count_tokens", count_tokens)
    app.router.add_get("/v1/models", list_models)
    app.router.add_get("/v1/models/{id}", show_model)
    return app


# The command line.

def to_pace(value: float | str) -> float:
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"a pace is a number from 0 on, not {value}")
    return float(value)


def to_port(text: str) -> int:
    if not 0 <= int(text) < 2**16:
        raise ValueError(f"a port is a number from 0 to 65535, not {text}")
    return int(text)


def to_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Raises argparse.ArgumentError or ValueError, each in one line."""
    parser = argparse.ArgumentParser("aioapp.simulator", exit_on_error=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=to_port, default=0, help="0, the default, takes any free one")
    parser.add_argument("--pace", type=to_pace, default=1.0, help="1: human, 0: at once")
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        raise ValueError(f"unrecognized arguments: {' '.join(unknown)}")
    return options


async def serve(host: str, port: int, pace: float) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the address cannot be had."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    simulator = create_simulator(pace=pace)
    runner = web.AppRunner(simulator, handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        print(URL.build(scheme="http", host=host, port=runner.addresses[0][1]), flush=True)
        await stopped.wait()
    finally:
        await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after a signal, 1 without the address, 2 for a bad command line."""
    try:
        options = to_options(argv)
        asyncio.run(serve(options.host, options.port, options.pace))
    except (argparse.ArgumentError, ValueError) as fault:
        print(f"aioapp.simulator: {fault}", file=sys.stderr)
        return 2
    except OSError as fault:
        print(f"aioapp.simulator: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
