"""All that a handler may reach, built by `app` and handed to every room above it."""
import asyncio
from dataclasses import dataclass

from aioapp.auth import Credentials
from aioapp.generation import Call, Generate, Prompt
from aioapp.layers import Drain
from aioapp.upstream.models import fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`origins` are those whose pages may call.

    In seconds: the two timeouts, `heartbeat`, after which a silent stream gets a comment, and `ping`, after which a
    silent socket gets one.
    """

    generate: Generate
    credentials: Credentials
    drain: Drain
    model: str
    origins: frozenset[str]
    total_timeout: float
    stall_timeout: float
    heartbeat: float = 15.0
    ping: float = 30.0
    debug: bool = False

    def call(self, prompt: Prompt, *, live: bool, client: str, request_id: str) -> tuple[Call, tuple[str, ...]]:
        """The call for `prompt`, fitted to its model, and a warning for each setting that was left out."""
        fit, warnings = fitted(prompt, model=prompt.model or self.model)
        deadline = asyncio.get_running_loop().time() + self.total_timeout
        return Call(prompt=fit, deadline=deadline, live=live, client=client, request_id=request_id), warnings

    def allows(self, origin: str) -> bool:
        return "*" in self.origins or origin.lower() in self.origins
