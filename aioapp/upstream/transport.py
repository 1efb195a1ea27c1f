"""How a request reaches Claude, whichever way: what every way offers, and the ways in which each can fail."""
from collections.abc import Mapping
from typing import Protocol


class NotConnected(Exception):
    """There is no connection: nothing was sent."""


class Silent(Exception):
    """Nothing came for as long as Claude may be silent."""


class Broken(Exception):
    """The connection broke, or what came on it is not HTTP. Nobody knows what Claude has done for it."""


class Response(Protocol):
    """An answer whose head has come. `headers` have lower case names; one that came more than once is joined by commas
    (RFC 9110 §5.3). `raw_headers` are as they came, in their order."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...

    async def read(self) -> bytes:
        """Some of the body, nothing at its end. Raises `Silent`, or `Broken`, but not before what came ahead of that.
        """

    def release(self) -> None:
        """It is done with, once: the connection can be used again if all of the body was read, else it is closed."""


class Transport(Protocol):
    """Answers come as they were written: no compression is asked for, and no redirect followed."""

    async def request(
            self, method: str, target: str, *, headers: Mapping[str, str], body: bytes = b"", silence: float | None,
    ) -> Response:
        """`target` is a path and perhaps a query, as they are sent, below where Claude is.

        Of `headers`, `User-Agent` and `Accept` take the place of our own. `silence` bounds the seconds between two
        reads. Raises `NotConnected`, `Silent` or `Broken`.
        """
