"""All that a handler may reach, built by `app` and handed to every room above it."""
import asyncio
from dataclasses import dataclass

from aioapp.callers import Caller
from aioapp.credentials import Credentials
from aioapp.errors import Forbidden
from aioapp.generation import Call, Generate
from aioapp.messages.prompt import Prompt
from aioapp.keys.authenticator import Authenticator
from aioapp.layers import Drain
from aioapp.messages.abilities import fitted
from aioapp.store.embedded.database import Database
from aioapp.telemetry.metrics import Metrics
from aioapp.usage import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`origins` are those whose pages may call.

    In seconds: `total_timeout`, `heartbeat`, after which a silent stream gets a comment, `ping`, after which a silent
    socket gets one, and `introduction`, within which a caller shows its key on a socket or in the form to sign in.
    """

    generate: Generate
    credentials: Credentials
    authenticator: Authenticator
    database: Database
    ledger: Ledger
    metrics: Metrics
    drain: Drain
    model: str
    origins: frozenset[str]
    total_timeout: float
    heartbeat: float = 15.0
    ping: float = 30.0
    introduction: float = 10.0
    debug: bool = False

    def call(self, prompt: Prompt, *, live: bool, caller: Caller, admitted: int, request_id: str,
             ) -> tuple[Call, tuple[str, ...]]:
        """The call for `prompt`, fitted to its model, and a warning for each setting that was left out.

        Raises `Forbidden` where the caller may not use the model.
        """
        fit, warnings = fitted(prompt, model=prompt.model or self.model)
        if not caller.may_use(fit.model or ""):
            raise Forbidden(f"Your key may not use the model {fit.model}. It may use: {', '.join(caller.models)}.")
        deadline = asyncio.get_running_loop().time() + self.total_timeout
        return Call(prompt=fit, deadline=deadline, live=live, caller=caller, admitted=admitted,
                    request_id=request_id), warnings

    def allows(self, origin: str) -> bool:
        return "*" in self.origins or origin.lower() in self.origins
