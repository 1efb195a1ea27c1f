"""The models: which there are, and what each takes."""
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from aioapp.simulator.errors import Json

EFFORTS: Mapping[str, tuple[int, int]] = MappingProxyType({     # level, and the version that brought it
    "low": (4, 5), "medium": (4, 5), "high": (4, 5), "xhigh": (4, 7), "max": (4, 6),
})
THINKING: Mapping[str, str] = MappingProxyType({    # type, and what a model says that does not take it
    "adaptive": "adaptive thinking is not supported on this model",
    "between_tools": '"thinking.type.between_tools" is not supported for this model.',
    "disabled": '"thinking.type.disabled" is not supported for this model. Thinking defaults to adaptive mode when '
                "not specified.",
    "enabled": '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
               '"output_config.effort" to control thinking behavior.',
})
UNLISTED = "custom"             # the line of a model that belongs to none
UNKNOWN_DATE = "1970-01-01"     # as the SDK's ModelInfo has it
FORMER: Sequence[re.Pattern[str]] = tuple(map(re.compile, (     # names from before 4.5
    r"claude-(?:instant-)?(?P<major>[1-3])(?:[.-](?P<minor>\d))?(?:-(?P<line>haiku|opus|sonnet))?"
    r"(?:-20\d{6}|-latest|-100k)?",
    r"claude-(?P<line>opus|sonnet)-(?P<major>4)(?:-(?P<minor>[01]))?(?:-20\d{6})?",
)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as `GET /v1/models` lists it; what it takes follows from its line and version."""

    id: str
    title: str
    line: str
    version: tuple[int, ...]
    released: str = UNKNOWN_DATE
    lifecycle: str = "active"
    retires: str | None = None

    @property
    def max_input_tokens(self) -> int:
        return 1_000_000 if self.version >= (4, 6) else 200_000

    @property
    def max_tokens(self) -> int:
        return 128_000 if self.version >= (4, 6) else 64_000

    @property
    def efforts(self) -> list[str]:
        none = self.version == (4, 5) and self.line != "opus"
        return [] if none else [level for level, since in EFFORTS.items() if self.version >= since]

    @property
    def thinking_types(self) -> list[str]:
        always = self.line in ("fable", "mythos") or (self.line in ("opus", "sonnet") and self.version >= (5, 5))
        takes = {"adaptive": self.version >= (4, 6), "enabled": self.version <= (4, 6),
                 "between_tools": self.version >= (5, 0), "disabled": not always}
        return [kind for kind, taken in takes.items() if taken]

    @property
    def thinks_unasked(self) -> bool:
        return self.version >= (5, 0) and self.line != UNLISTED


def _listed(line: str, version: str, *, snapshot: str = "", **more: str) -> tuple[str, Model]:
    alias = f"claude-{line}-{version.replace('.', '-')}"
    number = version.replace("preview", "4.7")      # it takes what 4.7 takes
    return alias, Model(id=alias + snapshot, title=f"Claude {line} {version}".title(), line=line,
                        version=tuple(map(int, f"{number}.0".split(".")[:2])), **more)


MODELS: Mapping[str, Model] = MappingProxyType(dict((       # SDK's ModelParam; dates from the release notes
    _listed("fable", "5.2", released="2026-11-09"),
    _listed("mythos", "5.2", released="2026-11-09"),
    _listed("haiku", "5.5", released="2026-10-07"),
    _listed("sonnet", "5.5", released="2026-09-28"),
    _listed("opus", "5.5"),
    _listed("fable", "5.1", released="2026-09-01"),
    _listed("mythos", "5.1", released="2026-09-01"),
    _listed("opus", "5", released="2026-07-24"),
    _listed("sonnet", "5", released="2026-06-30"),
    _listed("fable", "5", released="2026-06-09"),
    _listed("mythos", "5", released="2026-06-09"),
    _listed("opus", "4.8", released="2026-05-28"),
    _listed("opus", "4.7", released="2026-04-16"),
    _listed("mythos", "preview", lifecycle="retired", retires="2026-06-30"),
    _listed("sonnet", "4.6", released="2026-02-17"),
    _listed("opus", "4.6", released="2026-02-05"),
    _listed("opus", "4.5", snapshot="-20251101", released="2025-11-24"),
    _listed("haiku", "4.5", snapshot="-20251001", released="2025-10-15"),
    _listed("sonnet", "4.5", snapshot="-20250929", released="2025-09-29", lifecycle="deprecated",
            retires="2026-11-30"),
)))


def find_listed(name: str) -> Model | None:
    """The model under its alias or with a date behind it."""
    alias = re.sub(r"-20[0-9]{6}$", "", name)
    if alias not in MODELS:
        return None
    return MODELS[alias] if name == alias else replace(MODELS[alias], id=name)


def find_former(name: str) -> Model | None:
    """A model from before 4.5. The API has retired them, but the SDK's own tests still ask for them."""
    for pattern in FORMER:
        if found := pattern.fullmatch(name):
            return Model(id=name, title=name, line=found["line"] or UNLISTED, lifecycle="deprecated",
                         version=(int(found["major"]), int(found["minor"] or 0)))
    return None


def as_unlisted(name: str) -> Model:
    """A custom deployment, which takes what the newest Sonnet takes."""
    return replace(MODELS["claude-sonnet-5-5"], id=name, title=name, line=UNLISTED, released=UNKNOWN_DATE)


def _flags(names: Iterable[str], supported: Iterable[str] | None = None) -> Json:
    return {name: {"supported": supported is None or name in supported} for name in names}


def describe(model: Model) -> Json:
    """The model as the SDK's ModelInfo has it."""
    edits = ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")
    return {
        "id": model.id, "type": "model", "line": None if model.line == UNLISTED else model.line,
        "lifecycle": model.lifecycle, "display_name": model.title,
        "created_at": f"{model.released}T00:00:00Z", "deprecated_at": None,
        "retires_at": model.retires and f"{model.retires}T00:00:00Z",
        "max_input_tokens": model.max_input_tokens, "max_tokens": model.max_tokens,
        "capabilities": {
            **_flags(("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs")),
            "context_management": {"supported": True, **_flags(edits)},
            "effort": {"supported": bool(model.efforts), **_flags(EFFORTS, model.efforts)},
            "server_tools": {"supported": True, **_flags(("code_execution", "web_search"))},
            "thinking": {"supported": True, "types": _flags(THINKING, model.thinking_types)},
        },
    }
