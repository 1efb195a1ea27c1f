"""What an administrator may change: a key can never grant more than it has. Each raises `Forbidden`."""
from datetime import datetime

from aioapp.errors import Forbidden
from aioapp.keys.key import Key, Secret


def check_change(own: Key, secret: Secret, *, at: datetime) -> None:
    """Whether whoever holds `secret` of the key `own` may change keys, as both are by now.

    A secret that was replaced may have been lost to somebody: it must not outlive its grace by making another.
    """
    if own.state(at) != "active":
        raise Forbidden(f"Your key is {own.state(at)}.")
    if secret.expires_at is not None:
        raise Forbidden("Your secret was replaced. Change keys with the new one.")


def check_grant(wanted: Key, *, own: Key) -> None:
    """Whether the key `own` has all that `wanted` has."""
    if beyond := wanted.exceeds(own):
        raise Forbidden(f"Your key cannot grant more than it has: {', '.join(beyond)}.")
