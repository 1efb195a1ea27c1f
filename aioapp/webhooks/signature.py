"""The headers by which a receiver knows that a webhook is ours and new, of Standard Webhooks 1.0.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""
import binascii
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping

PREFIX = "whsec_"
BYTES = range(24, 65)
"""How many a secret has."""


def secret_of(text: str) -> bytes:
    """The secret that is written so, as providers hand them out. Raises `ValueError` with what it takes."""
    try:
        if text.startswith(PREFIX) and len(key := b64decode(text[len(PREFIX):], validate=True)) in BYTES:
            return key
    except (binascii.Error, ValueError):
        pass
    raise ValueError(f"{PREFIX} and the base64 of {BYTES[0]} to {BYTES[-1]} bytes, such as "
                     f"`echo {PREFIX}$(openssl rand -base64 32)` makes")


def new_id() -> str:
    """An id for one message, which stays the same however often it is tried."""
    return f"msg_{secrets.token_hex(16)}"


def headers_of(body: bytes, *, id: str, at: float, secret: bytes) -> Mapping[str, str]:
    """The three headers of one try of the message `id`, at the Unix time `at`."""
    seconds = str(int(at))
    digest = hmac.digest(secret, b".".join((id.encode(), seconds.encode(), body)), "sha256")
    return {"webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": f"v1,{b64encode(digest).decode()}"}
