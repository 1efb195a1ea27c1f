"""Where keys, counts and accounts are kept: what every store offers. Only the composition root knows which it is."""
from typing import Protocol

from aioapp.alerts.alert import AlertStore
from aioapp.keys.key_store import KeyStore
from aioapp.limits import Allowance
from aioapp.usage.usage_store import UsageStore


class Store(Protocol):
    """All of a store, while it is open."""

    @property
    def keys(self) -> KeyStore: ...

    @property
    def allowance(self) -> Allowance: ...

    @property
    def usage(self) -> UsageStore: ...

    @property
    def alerts(self) -> AlertStore: ...

    async def run(self) -> None:
        """What it must do all the time. It has no end of its own."""
