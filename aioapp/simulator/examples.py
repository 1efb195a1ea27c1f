"""The least value that a JSON schema takes: what a tool is called with when nobody says with what."""
from typing import Any

from aioapp.simulator.errors import Json

TEXT = "text"       # what stands for any string; tools may refuse empty ones


def example_of(schema: Any) -> Json:
    """An object with the properties that the schema of a tool's input requires, and no others.

    Bounds of strings and lists are not looked at. Raises RecursionError for a schema nested too deeply.
    """
    known = as_object(schema)
    return filled(known, {**as_object(known.get("definitions")), **as_object(known.get("$defs"))})


def filled(schema: Json, shared: Json) -> Json:
    properties, required = as_object(schema.get("properties")), schema.get("required")
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    return {name: value_of(properties.get(name), shared) for name in names}


def value_of(schema: Any, shared: Json) -> Any:
    """`shared` holds the schemas that a `$ref` may name; without the one that it is in, so that circles end."""
    match schema:
        case {"$ref": str(ref)}:
            name = ref.rpartition("/")[2]
            return value_of(shared.get(name), {other: shared[other] for other in shared if other != name})
        case {"const": value} | {"default": value} | {"enum": [value, *_]}:
            return value
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first, *_]}:
            return value_of(first, shared)
        case {"type": [kind, *_]}:
            return value_of({**schema, "type": kind}, shared)
        case {"type": "object"}:
            return filled(schema, shared)
        case {"type": "integer" | "number"}:
            return schema.get("minimum", 0)
        case {"type": str(kind)}:
            return {"array": [], "boolean": False, "null": None}.get(kind, TEXT)
        case _:
            return TEXT


def as_object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
