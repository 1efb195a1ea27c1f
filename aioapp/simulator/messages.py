"""An answer as Claude's message, whole or as the events of a stream."""
import json
import math
import uuid
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from aioapp.simulator.answers import TOKEN, Answer
from aioapp.simulator.errors import Json
from aioapp.simulator.models import Model
from aioapp.simulator.tools import written

PICTURE = 1600      # tokens: about what a picture takes that is as large as pictures are read
REFUSAL = {"type": "refusal", "category": "general_harms", "explanation": "The simulator was asked to refuse."}


def estimate(body: Json) -> int:
    """Input tokens: a quarter of the prompt's bytes, near enough to the truth and the same every time.

    What comes in base64, a picture or a document, takes a fixed number of tokens, however many bytes it has.
    """
    turns = [{**turn, "content": without_data(turn["content"])} for turn in body["messages"]]
    prompt = [body.get("system"), turns, body.get("tools")]
    return math.ceil(len(json.dumps(prompt, ensure_ascii=False).encode()) / 4)


def without_data(content: Any) -> Any:
    """The content with as many bytes for each base64 as its tokens take, also in the results of tools."""
    if not isinstance(content, list):
        return content
    return [lightened(block) for block in content]


def lightened(block: Any) -> Any:
    match block:
        case {"source": {"type": "base64", "data": str()} as source}:
            return {**block, "source": {**source, "data": "." * 4 * PICTURE}}
        case {"type": "tool_result", "content": list(parts)}:
            return {**block, "content": without_data(parts)}
        case _:
            return block


def usage_of(body: Json, answer: Answer) -> Json:
    # An answer without content costs a token too, unless it was only to warm the cache.
    spent = answer.tokens or min(1, body["max_tokens"])
    return {
        "input_tokens": estimate(body), "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": spent, "output_tokens_details": {"thinking_tokens": len(answer.thought)},
        "service_tier": "standard", "inference_geo": body.get("inference_geo") or "global",
        **({"speed": body["speed"]} if body.get("speed") else {}),
    }


def new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:24]}"


def message_of(answer: Answer, *, body: Json, model: Model) -> Json:
    omitted = body.get("thinking", {}).get("display") == "omitted"
    return {
        "id": new_id("msg"), "type": "message", "role": "assistant", "model": model.id,
        "content": [*content_of(answer, omitted=omitted)], "stop_reason": answer.stop_reason,
        "stop_sequence": answer.stop_sequence, "stop_details": REFUSAL if answer.stop_reason == "refusal" else None,
        "usage": usage_of(body, answer),
    }


def content_of(answer: Answer, *, omitted: bool) -> Iterator[Json]:
    """The answer's blocks: thinking, text, calls; `omitted` leaves only the signature of a thought."""
    thought, said = "".join(answer.thought), "".join(answer.said)
    if thought:
        signature = b64encode(sha256(thought.encode()).digest()).decode()
        yield {"type": "thinking", "thinking": "" if omitted else thought, "signature": signature}
    if said:
        yield {"type": "text", "text": said}
    for call in answer.calls:
        yield {"type": "tool_use", "id": new_id("toolu"), "name": call.name, "input": call.given}


def events_of(message: Json) -> Iterator[Json]:
    """The message as a stream of events, in Claude's order."""
    stop = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    usage = message["usage"]
    begun = {"output_tokens": min(1, usage["output_tokens"]), "output_tokens_details": {"thinking_tokens": 0}}
    yield {"type": "message_start",
           "message": {**message, **dict.fromkeys(stop), "content": [], "usage": {**usage, **begun}}}
    for index, block in enumerate(message["content"]):
        yield from block_events(index, block)
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", *begun)
    yield {"type": "message_delta", "delta": stop, "usage": {name: usage[name] for name in names}}
    yield {"type": "message_stop"}


def block_events(index: int, block: Json) -> Iterator[Json]:
    yield {"type": "content_block_start", "index": index, "content_block": emptied(block)}
    if index == 0:
        yield {"type": "ping"}
    yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas_of(block))
    yield {"type": "content_block_stop", "index": index}


def emptied(block: Json) -> Json:
    """The block as it begins in a stream."""
    if block["type"] == "tool_use":
        return {**block, "input": {}}
    return {**dict.fromkeys(block, ""), "type": block["type"]}


def deltas_of(block: Json) -> Iterator[Json]:
    """One for each token; before those of a call's input an empty one, and a thought's signature last."""
    match block:
        case {"type": "tool_use", "input": given}:
            for token in ("", *TOKEN.findall(written(given))):
                yield {"type": "input_json_delta", "partial_json": token}
        case _:
            kind = block["type"]
            yield from ({"type": f"{kind}_delta", kind: token} for token in TOKEN.findall(block[kind]))
    if "signature" in block:
        yield {"type": "signature_delta", "signature": block["signature"]}
