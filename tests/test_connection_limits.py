"""How many connections there may be, and how many from one place."""
import asyncio
import re
from contextlib import AsyncExitStack

import aiohttp
import pytest

from aioapp.web.bounds import TOLD, Bounds, Deadlines
from aioapp.web.proxies import Proxies
from aioapp.web.server.connection_limits import place_of
from tests.keyed import make_key
from tests.processes import until
from tests.test_connection import GET, Caller, House, call, house, problem, stack

__all__ = ["stack"]

NONE = Deadlines(first_byte=1, head=1, body=1, idle=1, stall=1)


async def full(server: House, stack: AsyncExitStack, count: int) -> list[Caller]:
    return [await call(server, stack) for _ in range(count)]


async def refused(server: House, stack: AsyncExitStack) -> Caller:
    caller = Caller(*await asyncio.open_connection("127.0.0.1", server.port))
    stack.callback(caller.leave)
    return caller


def test_one_address_gets_a_quarter_and_one_at_least() -> None:
    assert [Bounds(connections=most, deadlines=NONE).share for most in (1, 3, 4, 10_000)] == [1, 1, 1, 2500]


@pytest.mark.parametrize(("peer", "place"), [
    (("192.0.2.1", 5), "192.0.2.1"), (("2001:db8::1", 5, 0, 0), "2001:0db8:0000:0000::/64"),
    (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1"), (("10.1.2.3", 5), ""), ("", ""), (None, "")])
def test_a_place_is_an_address_or_the_half_of_one_that_a_network_has(peer: object, place: str) -> None:
    assert place_of(peer, proxies=Proxies(["10.0.0.0/8"])) == place


async def test_beyond_the_most_a_caller_is_told_so_and_the_others_go_on(stack: AsyncExitStack, state: object) -> None:
    make_key("web")
    server, _ = await house(stack, max_connections=3)
    callers = await full(server, stack, 3)
    turned_away = await refused(server, stack)
    status, said = problem(whole := await turned_away.rest())
    assert (status, said["error"]) == (503, "Too many connections")
    assert said["detail"] == "3 are open, which is the most here." and b"Retry-After: 1\r\n" in whole
    callers[0].say(GET)
    assert (await callers[0].answer())[0].startswith(b"HTTP/1.1 200 ")
    callers[1].leave()
    await until(lambda: server.connections.open == 2)
    assert (await call(server, stack, GET)).reader


async def test_without_keys_one_address_gets_its_share_and_with_keys_all(stack: AsyncExitStack, state: object) -> None:
    server, _ = await house(stack, max_connections=8)
    await full(server, stack, 2)
    whole = await (await refused(server, stack)).rest()
    status, said = problem(whole)
    assert (status, said["detail"]) == (429, "2 connections from one address are the most here.")
    assert b"Retry-After: 1\r\n" in whole
    make_key("web")
    keyed, _ = await house(stack, max_connections=8)
    assert len(await full(keyed, stack, 8)) == 8


async def test_a_refused_caller_who_stays_is_cut_and_holds_no_place(stack: AsyncExitStack, state: object) -> None:
    server, _ = await house(stack, max_connections=4)
    await full(server, stack, 1)
    stays = await refused(server, stack)
    await stays.answer()
    assert server.connections.open == 1
    server.pass_time(2.1)
    stays.say(b"x")
    assert await stays.rest() == b""


async def test_of_many_refused_only_so_many_are_told_why(
        stack: AsyncExitStack, state: object, caplog: pytest.LogCaptureFixture) -> None:
    server, _ = await house(stack, max_connections=4)
    await full(server, stack, 1)
    waiting = [await refused(server, stack) for _ in range(TOLD + 20)]
    said = [await answered(caller) for caller in waiting]
    assert said.count(True) == TOLD and said.count(False) == 20
    server.pass_time(0.1)
    told = [re.match(r"(\d+) connections were refused: 1 are open", message) for message in caplog.messages]
    assert sum(int(found[1]) for found in told if found) == TOLD + 20


async def answered(caller: Caller) -> bool:
    try:
        head, _ = await caller.answer()
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return False
    return head.startswith(b"HTTP/1.1 429 ")


async def test_gunicorns_worker_learns_how_many_requests_there_were(stack: AsyncExitStack) -> None:
    server, _ = await house(stack)
    async with aiohttp.ClientSession() as http:
        for _ in range(3):
            async with http.get(f"http://127.0.0.1:{server.port}/health") as response:
                assert response.status == 200
    assert server.connections.requests_count == 3
