"""The model names that ask for trouble, and who answers under any other."""
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from aioapp.simulator.errors import ApiError, Json, error_of
from aioapp.simulator.models import Model, as_unlisted, find_former, find_listed

OVERLOADED = (529, "Overloaded")
REFUSED: Mapping[str, tuple[int, str]] = MappingProxyType({
    "simulate-429": (429, "This request would exceed your organization's rate limit."),
    "simulate-500": (500, "Internal server error"),
    "simulate-529": OVERLOADED,
})
TROUBLED = frozenset({"simulate-slow", "simulate-cut", "simulate-error", "simulate-refusal"})
MISSING = "missing-"        # what the name of a model begins with that is nowhere
KNOWN_ONLY = ("claude-", "simulate-", MISSING)      # under such names only models that are known answer
WELL_FORMED = re.compile(r"[A-Za-z0-9]+(?:[-_.:@][A-Za-z0-9]+)+")      # two words or more, as in `model_id`


def find_model(name: str) -> Model:
    """The model that is to answer. Raises ApiError: 404, or what a reserved name asks for."""
    if name in REFUSED:
        raise ApiError(*REFUSED[name])
    if name in TROUBLED or not name.startswith(KNOWN_ONLY):
        return as_unlisted(name)
    model = find_listed(name) or find_former(name)
    if model is None:
        raise ApiError(404, f"model: {name}")
    return model


def find_shown(name: str) -> Model:
    """The model that `GET /v1/models/{id}` shows: any whose name is well-formed and asks for no trouble.

    Raises ApiError (404).
    """
    if not is_well_formed(name) or name in REFUSED or name in TROUBLED:
        raise ApiError(404, f"model: {name}")
    return find_model(name)


def is_well_formed(name: str) -> bool:
    return WELL_FORMED.fullmatch(name) is not None


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
