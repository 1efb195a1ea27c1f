"""What a try that came to nothing costs: silence is not asked again, and what may have been charged is accounted."""
import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from aioapp import errors
from aioapp.credentials import find_credentials, fixed
from aioapp.generation import Call, compose
from aioapp.layers import metered, timed
from aioapp.messages.events import Usage
from aioapp.upstream.claude import Claude, unanswered
from aioapp.upstream.proxied import failure
from aioapp.upstream.retries import Retries
from aioapp.upstream.session import open_transport
from tests.test_upstream import Waits, call, claude, cut_before_a_byte, failing, never, streaming
from tests.upstreams import BLOCK, MESSAGE, START, Connection, Script, delta, frame, upstream, whole

PROMPT = 1
"""Tokens that the calls here are guessed to take for their prompt of two letters."""


async def drive(client: Claude, asked: Call) -> type[errors.AppError] | None:
    """Take all of an answer, as the pipeline does; gives how it failed."""
    try:
        async with aclosing(compose(client.generate, metered, timed)(asked)) as batches:
            async for _ in batches:
                pass
    except errors.AppError as error:
        return type(error)
    return None


async def spent(*scripts: Script, asked: Call, idle: float = 5.0) -> tuple[type[errors.AppError] | None, int, Usage]:
    """How the call failed, how often Claude was asked, and what is accounted."""
    async with upstream(*scripts) as server, claude(server, idle=idle) as client:
        failed = await drive(client, asked)
        return failed, len(server.seen), asked.generation.meter.usage


async def silent_after_its_head(connection: Connection) -> None:
    await connection.begin()
    await connection.gone.wait()


@pytest.mark.parametrize("silence", [never, silent_after_its_head])
async def test_silence_is_no_reason_to_ask_again_and_the_one_try_is_accounted(silence: Script) -> None:
    failed, tries, usage = await spent(silence, asked=call(), idle=0.05)
    assert (failed, tries, usage) == (errors.UpstreamSilent, 1, Usage(input_tokens=PROMPT))


async def test_a_deadline_in_the_first_try_accounts_for_one() -> None:
    failed, tries, usage = await spent(never, asked=call(live=False, seconds=0.1))
    assert (failed, tries, usage.input_tokens) == (errors.UpstreamSilent, 1, PROMPT)
    assert 1 <= usage.output_tokens <= 5


@pytest.mark.parametrize(("live", "written"), [(True, 0), (False, 3)])
async def test_a_connection_that_breaks_is_tried_again_and_each_broken_try_is_accounted(
        live: bool, written: int) -> None:
    """Nobody knows whether Claude had begun: an answer in one piece may have been written up to then."""
    failed, tries, usage = await spent(cut_before_a_byte, asked=call(live=live))
    assert (failed, tries, usage.input_tokens) == (errors.UpstreamFailed, 3, 3 * PROMPT)
    assert written <= usage.output_tokens <= 5 * written


async def test_what_broken_tries_may_have_taken_is_added_to_what_claude_counts_in_the_end() -> None:
    failed, tries, usage = await spent(cut_before_a_byte, cut_before_a_byte, whole, asked=call())
    counted = Usage(**MESSAGE["usage"])  # type: ignore[arg-type]
    assert (failed, tries) == (None, 3)
    assert usage == Usage(input_tokens=counted.input_tokens + 2 * PROMPT, output_tokens=counted.output_tokens,
                          cache_creation_input_tokens=counted.cache_creation_input_tokens,
                          cache_read_input_tokens=counted.cache_read_input_tokens)


@pytest.mark.parametrize("status", [400, 429, 500, 529])
async def test_what_claude_refuses_takes_nothing(status: int) -> None:
    failed, _, usage = await spent(failing(status), asked=call())
    assert failed is not None and usage == Usage()


async def test_a_refusal_whose_body_falls_silent_is_a_refusal_all_the_same() -> None:
    async def stuck(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 529 X\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
        await connection.gone.wait()

    failed, tries, usage = await spent(stuck, asked=call(), idle=0.05)
    assert (failed, tries, usage) == (errors.Overloaded, 3, Usage())


@pytest.mark.parametrize("live", [True, False])
async def test_a_connection_that_could_not_be_made_is_tried_again_and_takes_nothing(live: bool) -> None:
    async with upstream(whole) as server:
        pass
    waits, asked = Waits(), call(live=live)
    async with claude(server, waits) as client:
        assert await drive(client, asked) is errors.UpstreamFailed
    assert (len(waits.asked), asked.generation.meter.usage) == (2, Usage())


@pytest.mark.parametrize("error", [aiohttp.ConnectionTimeoutError(), aiohttp.ClientConnectorError(
    aiohttp.client_reqrep.ConnectionKey("h", 1, False, True, None, None, None), OSError(111, "refused"))], ids=type)
async def test_a_connection_that_takes_too_long_to_be_made_is_one_that_could_not_be(error: Exception) -> None:
    asked = call()
    asked.generation.meter.ask()
    refusal = unanswered(failure(error), asked)
    assert (refusal.transient, str(refusal.error)) == (True, "Claude could not be reached.")
    asked.generation.meter.cut(asked.prompt, live=asked.live, by_us=True)
    assert asked.generation.meter.usage == Usage()


async def test_a_call_that_is_stopped_while_it_waits_for_its_next_try_takes_nothing() -> None:
    waiting, asked = asyncio.Event(), call()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async with upstream(failing(529)) as server, open_transport(server.url, connections=1, timeout=5) as transport:
        client = Claude(transport=transport, credentials=fixed("k", "test"), idle_timeout=5,
                        retries=Retries(sleep=sleep))
        task = asyncio.create_task(drive(client, asked))
        await waiting.wait()
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled() and asked.generation.meter.usage == Usage()


async def broken_in_one_piece(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
    connection.cut()


async def packed(connection: Connection) -> None:
    await connection.answer(200, json.dumps(MESSAGE).encode(), content_encoding="gzip")


@pytest.mark.parametrize("script", [broken_in_one_piece, packed, streaming(), streaming(frame("ping"))],
                         ids=["cut", "compressed", "empty", "only a ping"])
async def test_an_answer_that_began_and_did_not_come_to_its_count_is_accounted_by_guess(script: Script) -> None:
    failed, tries, usage = await spent(script, asked=call(live=False))
    assert (failed, tries, usage.input_tokens) == (errors.UpstreamFailed, 1, PROMPT)
    assert 1 <= usage.output_tokens <= 5


async def test_of_an_answer_that_was_counted_only_what_came_since_is_guessed() -> None:
    script = streaming(START + BLOCK + delta("xxxxxx"), then=cut_before_a_byte)
    failed, tries, usage = await spent(script, asked=call())
    assert (failed, tries, usage.input_tokens) == (errors.UpstreamFailed, 1, 7)
    assert usage.output_tokens == 5  # as counted: it has written all that it may


async def test_a_page_that_is_not_claudes_takes_nothing() -> None:
    async def page(connection: Connection) -> None:
        await connection.answer(200, b"<html>Sign in to the hotel's network</html>", "text/html")

    failed, _, usage = await spent(page, asked=call())
    assert (failed, usage) == (errors.UpstreamFailed, Usage())


async def test_a_call_for_which_there_are_no_credentials_asks_claude_nothing(tmp_path: Path) -> None:
    asked = call()
    async with upstream(whole) as server, open_transport(server.url, connections=1, timeout=5) as transport:
        none = find_credentials({}, loopback=False, home=tmp_path, base_url=server.url)
        client = Claude(transport=transport, credentials=none, retries=Retries(sleep=Waits().sleep), idle_timeout=5)
        assert await drive(client, asked) is errors.NotInitialized
        assert not server.seen
    assert not asked.generation.meter.asked
