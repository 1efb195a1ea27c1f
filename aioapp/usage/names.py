"""The names of models that usage is kept under: few, though callers may name any."""
from aioapp.generation import Record
from aioapp.usage.plain import plain

OTHER = "other"
MOST = 256
"""Names kept. Claude has far fewer models; a gateway in its place may answer under any name it is asked for."""


class Names:
    """Usage is kept under the model that answered. A call that none answered is kept under the one that answered last
    where the same was asked for, if there was one since the process began. All else is kept as "other"."""

    __slots__ = ("_answered", "_known")

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._answered: dict[str, str] = {}

    def kept(self, record: Record) -> str:
        asked = record.call.prompt.model or ""
        if record.model is None:
            return self._answered.get(asked, OTHER)
        name = plain(record.model)
        if name not in self._known:
            if len(self._known) >= MOST:
                return OTHER
            self._known.add(name)
        if asked in self._answered or len(self._answered) < MOST:
            self._answered[asked] = name
        return name
