"""Tells the log what a database cannot do: once for each error, however many connections meet it."""
import logging
from pathlib import Path
from threading import Lock

log = logging.getLogger("aioapp.store")


class Outages:
    """Of the database at `path`. Unless it is `quiet`: for whoever tells them in another way."""

    def __init__(self, path: Path, *, quiet: bool = False) -> None:
        self._path = path
        self._quiet = quiet
        self._lock = Lock()
        self._failing: dict[str, str] = {}

    def report(self, name: str, error: str) -> None:
        """Once for each error, whatever work of whichever name meets it, until one that has met it can be done."""
        with self._lock:
            if error not in self._failing.values() and not self._quiet:
                log.error("The database %s cannot be used: %s", self._path, error)
            self._failing[name] = error

    def recover(self, name: str) -> None:
        """That work of another name can be done says nothing: a full disk, for one, can be read."""
        with self._lock:
            over = self._failing.get(name)
            if over is not None:
                self._failing = {other: error for other, error in self._failing.items() if error != over}
                log.warning("The database can be used again.")

    @property
    def known(self) -> bool:
        """Whether there are any that are not over."""
        return bool(self._failing)
