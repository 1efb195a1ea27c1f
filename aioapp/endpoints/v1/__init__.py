"""Anthropic's own API, for programs that know it: they take this server as their base URL, and one of its keys."""
from aioapp.endpoints.v1.messages import COUNT_TOKENS, MESSAGES
from aioapp.endpoints.v1.models import MODELS
from aioapp.endpoints.v1.others import OTHERS

V1 = (MESSAGES, COUNT_TOKENS, *MODELS, *OTHERS)
