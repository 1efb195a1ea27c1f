"""The models that a body names: its own, and those that may run beside it or in its place."""
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from aioapp.errors import BadRequest

MOST_MODELS, LONGEST_MODEL = 20, 256
OURS = frozenset({"model", "messages", "system", "metadata"})
"""Fields in which no other model is named that would run."""
OF_CALLERS = frozenset({"input_schema", "input_examples", "schema"})
"""Fields that hold the caller's own data: there, `model` is a field of its tools, or of the answer it wants."""
NAMING = ("model", "models")
HOLDING = (str, dict, list)
"""What may be, or hold, a name."""


def models_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """All models that may be used for it, its own first. Raises `BadRequest`."""
    model = body.get("model")
    if not isinstance(model, str):
        raise BadRequest(problem(body, "model", otherwise="Input should be a valid string"))
    models: dict[str, None] = {}
    for name in chain((model,), chosen(body.get("fallbacks")), named_in(body)):
        models[name] = None
        if len(models) > MOST_MODELS or len(name) > LONGEST_MODEL:
            raise BadRequest(
                f"A request names at most {MOST_MODELS} models, of at most {LONGEST_MODEL} characters each.")
    return tuple(models)


def problem(body: Mapping[str, object], name: str, *, otherwise: str) -> str:
    return f"{name}: {otherwise if name in body else 'Field required'}"


def chosen(fallbacks: object) -> Iterator[str]:
    """Fallbacks that are no objects. Of `default`, nobody knows which they are: it stands for a model that no list of
    names has, and whose price nobody knows."""
    for name in fallbacks if isinstance(fallbacks, list) else (fallbacks,):
        if isinstance(name, str):
            yield name


def named_in(body: Mapping[str, Any]) -> Iterator[str]:
    """The models that are named beside the first: of fallbacks, of tools, and of whatever may come to name one.

    What is left to look at is a list, for a name that climbed out of what it is nested in would take its time.
    """
    left: list[tuple[object, bool]] = [(value, is_naming(name)) for name, value in body.items() if name not in OURS]
    while left:
        value, named = left.pop()
        if isinstance(value, dict):
            left += [(inner, named or is_naming(name)) for name, inner in value.items()
                     if isinstance(inner, HOLDING) and (named or name not in OF_CALLERS)]
        elif isinstance(value, list):
            left += [(inner, named) for inner in value if isinstance(inner, HOLDING)]
        elif named and isinstance(value, str):
            yield value


def is_naming(field: str) -> bool:
    return field in NAMING or field.endswith(("_model", "_models"))
