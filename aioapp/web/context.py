"""HTTP: how requests come in and how answers, streams and errors go out."""
from dataclasses import dataclass

from aiohttp import web

from aioapp.callers import Caller
from aioapp.errors import AppError
from aioapp.generation import Admission, Generation
from aioapp.limits import Allowance
from aioapp.services import Services

SERVICES = web.AppKey("services", Services)
REQUEST_ID = web.RequestKey("request_id", str)
ALLOWANCE = web.RequestKey("allowance", Allowance)
CALLER = web.RequestKey("caller", Caller)
ADMISSION = web.RequestKey("admission", Admission)
GENERATION = web.RequestKey("generation", Generation)
BEGAN = web.RequestKey("began", float)
PREPARED = web.RequestKey("prepared", bool)
REFUSED_KEY = web.RequestKey("refused_key", str)
"""The name of the key that was refused for its own terms, one that may no longer come in among them."""
REFUSED = web.RequestKey("refused", AppError)
"""What its connection found wrong with it."""
TURNED_AWAY = web.RequestKey("turned_away", str)
"""The origin or the host for which it was refused, or its answer kept from a page, for the log: what a caller wrote."""


@dataclass(slots=True)
class Asks:
    """How often a handler of one's own has asked Claude for one request, and how many of that are running.

    `included` says that the request was counted once, and nothing was asked for that yet.
    """

    count: int = 0
    running: int = 0
    included: bool = True


ASKS = web.RequestKey("asks", Asks)
