"""Administration: keys, what they used, and a page to look at. All of it is for admin keys."""
from aioapp.endpoints.admin.audit import AUDIT
from aioapp.endpoints.admin.keys import KEYS
from aioapp.endpoints.admin.page import PAGE
from aioapp.endpoints.admin.requests import REQUESTS
from aioapp.endpoints.admin.usage import ALL_USAGE

ADMIN = (*KEYS, *AUDIT, ALL_USAGE, REQUESTS, *PAGE)

__all__ = ["ADMIN"]
