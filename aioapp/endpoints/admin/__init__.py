"""Administration: keys, what they used, and a page to look at. All of it is for admin keys."""
from aioapp.endpoints.admin.audit import AUDIT
from aioapp.endpoints.admin.keys import KEYS
from aioapp.endpoints.admin.page import PAGE
from aioapp.endpoints.admin.usage import USAGE

ADMIN = (*KEYS, *AUDIT, *USAGE, *PAGE)

__all__ = ["ADMIN"]
