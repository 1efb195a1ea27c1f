"""The call itself: send a prompt, try again where that may help, and give Claude's events as they arrive."""
import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace

from aioapp.credentials import Credentials
from aioapp.errors import AppError, UpstreamFailed
from aioapp.generation import Batch, Call
from aioapp.upstream import error_mapping, relayed
from aioapp.upstream.retries import Retries, is_transient
from aioapp.upstream.stream import in_one_piece, is_plain, read_at_most, streamed
from aioapp.upstream.transport import Broken, NotConnected, Response, Silent, Transport

MESSAGES = "/v1/messages"
BETA = "anthropic-beta"
LARGEST_ERROR = 2**16
"""Bytes of an error that are looked at."""

log = logging.getLogger("aioapp.upstream")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a try came to nothing, whether another may fare better, and the seconds that Claude asks to wait before."""

    error: AppError
    transient: bool
    why: str
    asked: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claude:
    """The Messages API. `idle_timeout` is in seconds between two reads of a streamed answer."""

    transport: Transport
    credentials: Credentials
    retries: Retries
    idle_timeout: float

    async def generate(self, call: Call) -> AsyncGenerator[Batch, None]:
        """The innermost `Generate`. Closing it closes the connection, which stops Claude."""
        meter = call.generation.meter
        meter.reset()
        response = await self._connect(call)
        try:
            batches = answered(response, call)
            try:
                async for batch in batches:
                    yield batch
            finally:
                await batches.aclose()
        except UpstreamFailed:
            meter.lose(call.prompt, live=call.live)
            raise
        except (Silent, Broken) as error:
            meter.lose(call.prompt, live=call.live)
            raise error_mapping.of_exception(error) from error
        finally:
            response.release()

    async def _connect(self, call: Call) -> Response:
        """An answer with status 200, of which nothing has been read, after as many tries as `retries` allows."""
        body, request_id, attempt = call.prompt.body(live=call.live), call.admission.request_id, 0
        while True:
            attempt += 1
            tried = await self._try(call, body)
            if not isinstance(tried, Refusal):
                return tried
            left = call.deadline - asyncio.get_running_loop().time()
            wait = self.retries.wait_before(attempt, asked=tried.asked, left=left) if tried.transient else None
            if wait is None:
                log.warning("%s: try %d failed (%s), given up", request_id, attempt, tried.why)
                raise tried.error
            log.info("%s: try %d failed (%s), next in %.2f s", request_id, attempt, tried.why, wait)
            await self.retries.sleep(wait)

    async def _try(self, call: Call, body: bytes) -> Response | Refusal:
        credentials, meter = await self.credentials.headers(), call.generation.meter
        headers = with_credentials({"Content-Type": "application/json", **call.prompt.headers()}, credentials)
        meter.ask()
        try:
            # An answer in one piece is silent until it is complete: only the deadline bounds it.
            response = await self.transport.request(
                "POST", MESSAGES + call.prompt.query, headers=headers, body=body,
                silence=self.idle_timeout if call.live else None)
        except (NotConnected, Silent, Broken) as error:
            return unanswered(error, call)
        if response.status == 200:
            self.credentials.accepted()
            return response
        meter.spare()
        refusal = await refused(response, verbatim=call.prompt.verbatim)
        if response.status in (401, 403) and self.credentials.refused(credentials):
            return replace(refusal, transient=True)
        return refusal


def with_credentials(headers: Mapping[str, str], credentials: Mapping[str, str]) -> dict[str, str]:
    """What is sent. Of betas, those of the caller and those that our credentials need are one list."""
    betas = ",".join(filter(None, (headers.get(BETA), credentials.get(BETA))))
    return {**headers, **credentials, **({BETA: betas} if betas else {})}


def answered(response: Response, call: Call) -> AsyncGenerator[Batch, None]:
    """What an answer with status 200 says."""
    verbatim = call.prompt.verbatim
    if verbatim:
        call.generation.head = relayed.passed_on(response.headers)
    match response.headers.get("content-type", "").partition(";")[0].strip().lower():
        case "text/event-stream" | "application/json" if not is_plain(response):
            raise UpstreamFailed("Claude's answer is compressed, which was not asked for.")
        case "text/event-stream":
            return relayed.framed(response) if verbatim else streamed(response)
        case "application/json":
            return relayed.whole(response) if verbatim else in_one_piece(response)
    call.generation.meter.spare()  # this was not Claude
    raise UpstreamFailed("Claude's answer is neither JSON nor an event stream.")


def unanswered(error: Exception, call: Call) -> Refusal:
    """What it means that a try brought no answer at all.

    One that was never sent costs nothing, and is always tried again. Of one that broke, nobody knows what Claude has
    done for it: it is tried again, and accounted as lost. Silence is no reason to ask again, for Claude may still be at
    it; the call ends by our own doing, so `metered` accounts for it.
    """
    match error:
        case NotConnected():
            call.generation.meter.spare()
            return Refusal(error_mapping.of_exception(error), transient=True, why=type(error).__name__)
        case Silent():
            return Refusal(error_mapping.of_exception(error), transient=False, why="silence")
        case _:
            call.generation.meter.lose(call.prompt, live=call.live)
    transient = not call.prompt.verbatim  # whoever speaks to Claude through us tries again as it sees fit
    return Refusal(error_mapping.of_exception(error), transient=transient, why=type(error).__name__)


async def refused(response: Response, *, verbatim: bool) -> Refusal:
    """What an answer other than 200 means."""
    try:
        body = await read_at_most(response, LARGEST_ERROR)
    finally:
        response.release()
    error = error_mapping.of_status(response.status, headers=response.headers, body=body)
    return Refusal(
        relayed.in_words(error, response, body=body) if verbatim else error,
        transient=not verbatim and is_transient(response.status, response.headers),
        why=f"status {response.status}, {response.headers.get('request-id', 'no request id')}",
        asked=error_mapping.retry_after(response.headers),
    )
