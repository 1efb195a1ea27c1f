"""Bodies as to their shape: JSON, and fields of the right type."""
import json
from collections.abc import Container, Iterator, Mapping
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
    "inference_geo": (str, NoneType), "fallbacks": ANY,
})
SAMPLING: Fields = MappingProxyType({"temperature": (float, int), "top_p": (float, int), "top_k": (int,)})
KNOWN = frozenset({*CREATED, *SAMPLING})       # what no beta brings where it does not belong
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
    """What is missing, and what is not of its type. Of fields that are not in `fields` nothing is said."""
    yield from (f"{path}{name}: Field required" for name in REQUIRED if name in fields and name not in value)
    for name, part in value.items():
        if name in fields and type(part) not in fields[name]:       # not isinstance: true is no integer
            yield f"{path}{name}: Input should be {EXPECTED[fields[name][0]]}"


def extra_faults(value: Json, fields: Fields, *, path: str = "", known: Container[str] | None = None) -> Iterator[str]:
    """The fields that are not in `fields`: all of them, or only those in `known`."""
    for name in value:
        if name not in fields and (known is None or name in known):
            yield f"{path}{name}: Extra inputs are not permitted"
