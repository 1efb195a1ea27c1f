"""Bodies as to their shape: JSON, and fields of the right type."""
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType, NoneType

from aioapp.simulator.errors import ApiError, Json

Fields = Mapping[str, tuple[type, ...]]

REQUIRED = ("model", "max_tokens", "messages", "role", "content")       # of the fields that a body may have
EXPECTED: Mapping[type, str] = MappingProxyType({
    str: "a valid string", int: "a valid integer", float: "a valid number", bool: "a valid boolean",
    list: "a valid list", dict: "an object",
})
ANY = (*EXPECTED, NoneType)
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
), ANY))
SAMPLING: Fields = MappingProxyType({"temperature": (float, int), "top_p": (float, int), "top_k": (int,)})
TURN: Fields = MappingProxyType({"role": ANY, "content": (list, str)})


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


def shape_faults(value: Json, fields: Fields, *, path: str = "") -> Iterator[str]:
    yield from (f"{path}{name}: Field required" for name in REQUIRED if name in fields and name not in value)
    for name, part in value.items():
        if name not in fields:
            yield f"{path}{name}: Extra inputs are not permitted"
        elif type(part) not in fields[name]:       # not isinstance: true is no integer
            yield f"{path}{name}: Input should be {EXPECTED[fields[name][0]]}"
