"""The model names that ask for trouble, and who answers under any other."""
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from aioapp.simulator.errors import ApiError, Json, error_of
from aioapp.simulator.models import MODELS, Model, find_listed

OVERLOADED = (529, "Overloaded")
REFUSED: Mapping[str, tuple[int, str]] = MappingProxyType({
    "simulate-429": (429, "This request would exceed your organization's rate limit."),
    "simulate-500": (500, "Internal server error"),
    "simulate-529": OVERLOADED,
})
TROUBLED = frozenset({"simulate-slow", "simulate-cut", "simulate-error", "simulate-refusal"})


def find_model(name: str) -> Model:
    """The model that is to answer. Raises ApiError: 404, or what a reserved name asks for."""
    if name in REFUSED:
        raise ApiError(*REFUSED[name])
    if name in TROUBLED or not name.startswith(("claude-", "simulate-")):
        return replace(MODELS["claude-sonnet-5-5"], id=name, line="custom")
    model = find_listed(name)
    if model.lifecycle == "retired":
        raise ApiError(404, f"model: {name}")
    return model


def spoil(name: str, events: Sequence[Json]) -> Sequence[Json]:
    """The events of a stream as far as the model `name` gets."""
    half = events[:len(events) // 2]
    match name:
        case "simulate-cut":
            return half
        case "simulate-error":
            return [*half, error_of(*OVERLOADED)]
        case _:
            return events
