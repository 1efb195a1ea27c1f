"""Who may come in: the one place that tells callers apart. What a request looks like is `web.access`'s business."""
from collections.abc import Callable
from dataclasses import dataclass

from aioapp.callers import Caller, Limits
from aioapp.errors import Forbidden, Unauthorized
from aioapp.keys.keyring import Keyring

Peer = tuple[str, bool]
"""A caller's address, and whether it is a program of this machine that asks, by a name of loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """With any key defined, everybody needs one. Without, `anonymous` are the limits of each address.

    `open` lets in everybody where there are no keys, from anywhere; else only this machine's own programs come in, and
    only by a name of loopback, which no web page can be tricked into using (DNS rebinding).
    """

    keyring: Keyring
    anonymous: Limits
    open: bool = False

    @property
    def ready(self) -> bool:
        """Whether it is known who may come in."""
        return self.keyring.ready

    @property
    def keyless(self) -> bool:
        """Whether there are no keys, for certain: a store that cannot be read may hold some."""
        return not self.keyring.any and self.keyring.ready

    def authenticate(self, given: str | None, *, peer: Callable[[], Peer]) -> Caller:
        """Who shows `given`, or, where there are no keys, what `peer` tells of the caller.

        Raises `Unauthorized` or `StoreUnavailable`.
        """
        if given is not None and self.keyring.any:
            return self.keyring.find(given)  # which sees for itself whether it may still be trusted
        if self.keyring.guarded:
            raise Unauthorized("Send your key in the header X-API-Key, or as Authorization: Bearer.")
        address, local = peer()
        if not (self.open or local):
            raise Unauthorized(
                "There are no keys yet, and you are not on this machine, or come through a proxy. Whoever runs this "
                "server makes a key with `aioapp keys create`, or says --allow-anonymous.")
        return Caller(name=address, limits=self.anonymous)

    def reauthenticate(self, caller: Caller) -> Caller:
        """The same caller, as it is now. Raises `Unauthorized` where it may no longer come in."""
        if caller.known:
            return self.keyring.holder(caller.secret)
        if self.keyring.guarded:
            raise Unauthorized("This server asks for a key now.")
        return caller

    def administrator(self, given: str | None, *, opener: str | None = None) -> Caller:
        """The admin key that is shown as `given`, or, by its public id, the secret `opener` of a session.

        Raises `Unauthorized`, `Forbidden` or `StoreUnavailable`.
        """
        if not self.keyring.guarded:
            raise Forbidden("There is no admin key yet. Whoever runs this server makes one with: "
                            "aioapp keys create NAME --admin")
        caller = self.keyring.holder(opener) if opener else self.authenticate(given, peer=lambda: ("", False))
        if not caller.admin:
            raise Forbidden("This needs an admin key.", refused="access", key=caller.key)
        return caller
