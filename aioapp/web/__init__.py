"""HTTP: how requests come in and how answers, streams and errors go out."""
from aiohttp import web

from aioapp.services import Services

SERVICES = web.AppKey("services", Services)
REQUEST_ID = web.RequestKey("request_id", str)
BEGAN = web.RequestKey("began", float)
PREPARED = web.RequestKey("prepared", bool)
