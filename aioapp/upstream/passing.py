"""Questions to Claude that are no generation: they cost nothing, and their answers are passed on as they came."""
from collections.abc import Mapping
from dataclasses import dataclass

from aioapp.credentials import Credentials
from aioapp.errors import CredentialsRefused, Said, UpstreamFailed
from aioapp.upstream import error_mapping
from aioapp.upstream.claude import with_credentials
from aioapp.upstream.relayed import ERRORS, is_json, passed_on
from aioapp.upstream.stream import read_whole
from aioapp.upstream.transport import Broken, NotConnected, Silent, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """`silence` is in seconds, between two reads of an answer."""

    transport: Transport
    credentials: Credentials
    silence: float

    async def ask(self, method: str, target: str, *, headers: Mapping[str, str], body: bytes = b"") -> Said:
        """What Claude says to it, whatever that is.

        Raises `UpstreamFailed`, `UpstreamTimeout`, `NotInitialized` or `CredentialsRefused`.
        """
        try:
            said = await self._ask(method, target, headers=headers, body=body)
            if said.status == 401:  # our credentials may have been renewed meanwhile
                said = await self._ask(method, target, headers=headers, body=body)
        except (NotConnected, Silent, Broken) as error:
            raise error_mapping.of_exception(error) from error
        if said.status == 401:
            raise CredentialsRefused()
        return said

    async def _ask(self, method: str, target: str, *, headers: Mapping[str, str], body: bytes) -> Said:
        credentials = await self.credentials.headers()
        response = await self.transport.request(
            method, target, headers=with_credentials(headers, credentials), body=body, silence=self.silence)
        try:
            raw = await read_whole(response)
        finally:
            response.release()
        if response.status == 401 and not self.credentials.refused(credentials):
            raise CredentialsRefused()
        known = response.status == 200 or response.status in ERRORS
        if response.status != 401 and not (known and raw and is_json(response)):
            raise UpstreamFailed(f"Claude answered with status {response.status}, and not in JSON as we know it.")
        return Said(response.status, passed_on(response.headers), raw)
