"""HTTP: how requests come in and how answers, streams and errors go out."""
from aiohttp import web

from aioapp.callers import Caller
from aioapp.errors import AppError
from aioapp.generation import Call
from aioapp.keys.authenticator import Authenticator
from aioapp.services import Services

SERVICES = web.AppKey("services", Services)
REQUEST_ID = web.RequestKey("request_id", str)
AUTHENTICATOR = web.RequestKey("authenticator", Authenticator)
CALLER = web.RequestKey("caller", Caller)
ADMITTED = web.RequestKey("admitted", int)
CALL = web.RequestKey("call", Call)
BEGAN = web.RequestKey("began", float)
PREPARED = web.RequestKey("prepared", bool)
REFUSED = web.RequestKey("refused", AppError)
"""What its connection found wrong with it."""
