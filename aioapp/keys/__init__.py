"""Who may come in: keys that are shown once, kept as digests, and held in memory while a server runs."""
from aioapp.keys.key import Key
from aioapp.keys.keyring import Keyring
from aioapp.keys.text import expiry

__all__ = ["Key", "Keyring", "expiry"]
