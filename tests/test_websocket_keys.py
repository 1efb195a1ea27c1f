"""The WebSocket where there are keys: who may speak on it, how one says who one is, and when that ends."""
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from aioapp.app import create_app
from aioapp.callers import UNLIMITED
from aioapp.keys import Keyring
from aioapp.keys.authenticator import Authenticator
from aioapp.settings import Settings
from aioapp.store.embedded.key_store import EmbeddedKeys
from aioapp.store.embedded.database import Database
from aioapp.web.bounds import INTRODUCTION
from tests.conftest import Serve, start, with_services
from tests.keyed import database, make_key, revoke, shown
from tests.processes import until
from tests.upstreams import Connection, Upstream, upstream, whole

Frame = dict[str, Any]
Socket = aiohttp.ClientWebSocketResponse[bool]
ASK = {"prompt": "Hi"}
PATIENCE = 5.0
NEEDED = "A valid key is needed"
PATH = "/ws/generate"


@pytest.fixture
async def claude(stack: AsyncExitStack) -> Upstream:
    """An upstream that answers well, and remembers whether it was asked at all."""
    return await stack.enter_async_context(upstream(whole))


async def told(socket: Socket) -> Frame:
    async with asyncio.timeout(PATIENCE):
        frame = await socket.receive_json()
    assert isinstance(frame, dict)
    return frame


async def ended(socket: Socket) -> int | None:
    """Read the close, which must be next; gives its code."""
    async with asyncio.timeout(PATIENCE):
        message = await socket.receive()
    assert message.type is WSMsgType.CLOSE, message
    return socket.close_code


async def introduced(socket: Socket, key: str, **more: str) -> Frame:
    await socket.send_json({"type": "auth", "key": key, **more})
    return await told(socket)


async def generated(socket: Socket, **more: Any) -> Frame:
    await socket.send_json(ASK | more)
    return await told(socket)


async def refused_once(socket: Socket) -> Frame:
    """Ask until it is refused: what is changed in the database is known a moment later."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await generated(socket))["success"]:
            await asyncio.sleep(0.02)
        return answer


async def test_a_key_in_the_handshake_s_header_is_enough(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream) -> None:
    key = make_key()
    url = await serve(claude.url)
    for headers in (shown(key), {"Authorization": f"Bearer {key}"}):
        async with http.ws_connect(url + PATH, headers=headers) as socket:
            assert (await generated(socket))["success"] is True


async def test_a_wrong_key_in_the_handshake_s_header_gets_no_socket(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    make_key()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await http.ws_connect(await serve() + PATH, headers=shown("aio_wrong"))
    assert refusal.value.status == 401


async def test_a_key_in_the_first_frame_is_answered_and_then_all_is_open(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream) -> None:
    key = make_key()
    async with http.ws_connect(await serve(claude.url) + PATH) as socket:
        answer = await introduced(socket, key, id="hello")
        assert answer.items() >= {"type": "auth", "success": True, "id": "hello"}.items()
        assert answer.keys() == {"type", "success", "timestamp", "id"}
        assert (await generated(socket, id="a")).items() >= {"success": True, "id": "a"}.items()
        await socket.send_json(ASK | {"stream": True})
        frames = [await told(socket)]
        while frames[-1]["type"] != "done":
            frames.append(await told(socket))
        assert frames[0]["type"] == "start"


def wrong_keys() -> dict[str, str]:
    good = make_key()
    long_ago = datetime.now(UTC) - timedelta(days=2)
    keys = {"wrong": good[:-1] + ("A" if good[-1] != "A" else "B"), "truncated": good[:-1], "longer": good + "x",
            "revoked": make_key("gone"), "malformed": "aio_' OR 1=1 --", "blank": " ", "non-ASCII": "aio_k\u00e4se",
            "expired": make_key("old", at=long_ago, expires_at=long_ago + timedelta(days=1)),
            "nothing but zeros": "\0" * 80}
    revoke("gone")
    return keys


@pytest.mark.parametrize("case", ["wrong", "truncated", "longer", "revoked", "malformed", "blank", "non-ASCII",
                                  "expired", "nothing but zeros"])
async def test_a_first_frame_with_a_bad_key_is_told_so_and_closes_with_1008(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream, case: str) -> None:
    keys = wrong_keys()
    async with http.ws_connect(await serve(claude.url) + PATH) as socket:
        answer = await introduced(socket, keys[case], id="a")
        assert (answer["success"], answer["error"], answer["id"]) == (False, NEEDED, "a")
        assert len(keys[case]) < 2 or keys[case] not in json.dumps(answer)
        assert await ended(socket) == 1008
    assert not claude.seen


FIRST: dict[str, str | bytes] = {
    "generate": json.dumps(ASK),
    "stream": json.dumps(ASK | {"stream": True}),
    "chat": '{"type": "chat", "message": "Hi"}',
    "cancel": '{"type": "cancel", "id": "a"}',
    "no key": '{"type": "auth"}',
    "a number": '{"type": "auth", "key": 7}',
    "null": '{"type": "auth", "key": null}',
    "an object": '{"type": "auth", "key": {"$ne": ""}}',
    "an array": '{"type": "auth", "key": []}',
    "more than a key": '{"type": "auth", "key": "x", "admin": true}',
    "an unknown type": '{"type": "nonesuch"}',
    "binary": b'{"type": "auth", "key": "x"}',
    "rubbish": "rubbish",
    "half a surrogate": '{"type": "auth", "key": "\\ud800"}',
    "nothing": "",
    "a list": "[]",
}


@pytest.mark.parametrize("case", FIRST)
async def test_any_other_first_frame_is_refused_and_closes_with_1008(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream, case: str) -> None:
    make_key()
    async with http.ws_connect(await serve(claude.url) + PATH) as socket:
        sent = FIRST[case]
        await (socket.send_bytes(sent) if isinstance(sent, bytes) else socket.send_str(sent))
        assert (await told(socket))["success"] is False
        assert await ended(socket) == 1008
    assert not claude.seen


@pytest.mark.parametrize("sent", [
    '{"type": "auth", "key": "' + "x" * 4096 + '"}', '{"type": "chat", "message": "x", "history": [' + "{}," * 340_000,
    "?" * 2**20, "[" * 4097])
async def test_a_first_frame_over_4_kib_is_refused_without_a_look_at_it(
        serve: Serve, http: aiohttp.ClientSession, sent: str) -> None:
    make_key()
    async with http.ws_connect(await serve() + PATH) as socket:
        await socket.send_str(sent)
        answer = await told(socket)
        assert answer["detail"] == f"{INTRODUCTION} It has at most 4096 bytes."
        assert answer["error"] == NEEDED and len(json.dumps(answer)) < 300
        assert await ended(socket) == 1008


async def test_a_first_frame_of_4_kib_is_looked_at(serve: Serve, http: aiohttp.ClientSession) -> None:
    frame = json.dumps({"type": "auth", "key": make_key()})
    url = await serve() + PATH
    for size, taken in ((4096, True), (4097, False)):
        async with http.ws_connect(url) as socket:
            await socket.send_str(frame + " " * (size - len(frame)))
            assert (await told(socket))["success"] is taken


async def test_what_a_stranger_asks_is_not_held_against_any_schema(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    make_key()
    async with http.ws_connect(await serve() + PATH) as socket:
        await socket.send_json({"type": "chat", "message": 7, "nonsense": True})
        assert (await told(socket))["detail"] == INTRODUCTION


async def test_nothing_that_was_sent_along_with_a_bad_key_is_generated(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream) -> None:
    make_key()
    async with http.ws_connect(await serve(claude.url) + PATH) as socket:
        for frame in ({"type": "auth", "key": "aio_wrong"}, ASK, ASK | {"stream": True}):
            await socket.send_json(frame)
        assert (await told(socket))["error"] == NEEDED
        assert await ended(socket) == 1008
    assert not claude.seen


async def test_who_says_nothing_is_waited_for_as_long_as_is_set_and_no_longer(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    make_key()
    app = create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2))
    url = await start(with_services(app, introduction=0.1), stack)
    async with http.ws_connect(url + PATH) as socket:
        assert (await told(socket)).items() >= {"success": False, "error": NEEDED, "detail": "No key came."}.items()
        assert await ended(socket) == 1008


async def test_pings_do_not_lengthen_the_wait_for_a_key(stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    make_key()
    app = create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2))
    url = await start(with_services(app, introduction=0.3, ping=0.05), stack)
    async with http.ws_connect(url + PATH) as socket:
        async with asyncio.timeout(2):
            assert (await told(socket))["detail"] == "No key came."


async def test_who_has_said_its_key_may_be_silent_as_long_as_it_likes(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    key = make_key()
    app = create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2))
    url = await start(with_services(app, introduction=0.05), stack)
    async with http.ws_connect(url + PATH) as early, http.ws_connect(url + PATH) as silent:
        await introduced(early, key)
        assert (await told(silent))["detail"] == "No key came."  # by now, `early` has been silent as long
        assert (await generated(early))["success"] is True


async def test_a_key_in_the_query_or_in_a_cookie_is_not_looked_at(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream) -> None:
    key = make_key(admin=True)
    url = f"{await serve(claude.url)}{PATH}?key={key}&api_key={key}&token={key}"
    async with http.ws_connect(url, headers={"Cookie": f"aioapp_admin={key}"}) as socket:
        assert (await generated(socket))["error"] == NEEDED
        assert await ended(socket) == 1008
    assert not claude.seen


async def test_each_frame_is_a_request_and_the_one_too_many_gets_an_error_frame(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream) -> None:
    key = make_key(requests_per_minute=3)
    url = await serve(claude.url)
    async with http.ws_connect(url + PATH) as socket:
        await introduced(socket, key)
        answers = [await generated(socket, id=str(number)) for number in range(5)]
        assert [answer["success"] for answer in answers] == [True, True, True, False, False]
        assert (answers[3]["error"], answers[3]["id"]) == ("This server's limit for you is reached", "3")
        assert "not Claude's" in answers[3]["detail"]
        assert (await introduced(socket, key))["success"] is True  # which is no request; and the socket is open
    async with http.post(f"{url}/api/generate", json=ASK, headers=shown(key)) as response:
        assert response.status == 429
    assert len(claude.seen) == 3


async def test_a_key_that_is_revoked_while_the_socket_is_open_is_refused_at_the_next_frame(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    key = make_key()
    url = await serve()
    async with http.ws_connect(url + PATH, headers=shown(key)) as one, http.ws_connect(url + PATH) as other:
        await introduced(other, key)
        assert (await generated(one))["success"] is True
        revoke("web")
        answer = await refused_once(one)
        assert (answer["error"], answer["detail"]) == (NEEDED, "This key was revoked.")
        assert await ended(one) == 1008
        assert (await generated(other))["detail"] == "This key was revoked."
        assert await ended(other) == 1008


async def test_an_open_socket_without_a_key_is_refused_once_there_are_keys(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(await serve() + PATH) as socket:
        assert (await generated(socket))["success"] is True
        make_key()
        assert (await refused_once(socket))["detail"] == "This server asks for a key now."
        assert await ended(socket) == 1008


class Now:
    """A clock that stands."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.at


@asynccontextmanager
async def authenticator_at(now: Now) -> AsyncIterator[Authenticator]:
    """An authenticator for the keys in the database, for which it is as late as `now` says."""
    held = Database(database(), create=False)
    keyring = Keyring(EmbeddedKeys(held), clock=now)
    await keyring.refresh()
    try:
        yield Authenticator(keyring=keyring, anonymous=UNLIMITED)
    finally:
        await held.close()


async def test_a_key_that_expires_while_the_socket_is_open_is_refused_at_the_next_frame(
        stack: AsyncExitStack, http: aiohttp.ClientSession) -> None:
    now = Now()
    key = make_key(expires_at=now.at + timedelta(hours=1))
    app = create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2))
    url = await start(with_services(app, authenticator=await stack.enter_async_context(authenticator_at(now))), stack)
    async with http.ws_connect(url + PATH) as socket:
        await introduced(socket, key)
        now.at += timedelta(minutes=59)
        assert (await generated(socket))["success"] is True
        now.at += timedelta(minutes=1)
        assert (await generated(socket))["detail"] == "This key has expired."
        assert await ended(socket) == 1008


async def test_what_runs_when_its_key_is_revoked_ends_when_the_socket_is_closed(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    key = make_key()
    async with upstream(hanging, whole) as claude:
        async with http.ws_connect(await serve(claude.url) + PATH, headers=shown(key)) as socket:
            await socket.send_json(ASK | {"id": "running"})
            await until(lambda: claude.seen)
            revoke("web")
            assert (await refused_once(socket))["detail"] == "This key was revoked."
            assert await ended(socket) == 1008
            async with asyncio.timeout(PATIENCE):
                await claude.seen[0].gone.wait()


async def hanging(connection: Connection) -> None:
    await connection.gone.wait()


async def test_a_spent_budget_is_an_error_frame_that_says_when_it_renews(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream) -> None:
    key = make_key(usd=1, spent=1)
    async with http.ws_connect(await serve(claude.url) + PATH, headers=shown(key)) as socket:
        answer = await generated(socket, id="a")
        assert (answer["error"], answer["id"]) == ("The key's budget is spent", "a")
        assert f"renews on {(datetime.now(UTC) + timedelta(days=1)).date()}" in answer["detail"]
        assert (await introduced(socket, key))["success"] is True
    assert not claude.seen


async def test_a_model_that_the_key_may_not_use_is_an_error_frame_that_names_those_it_may(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream) -> None:
    key = make_key(models=("claude-sonnet-*",))
    async with http.ws_connect(await serve(claude.url) + PATH, headers=shown(key)) as socket:
        answer = await generated(socket, model="claude-opus-4-7")
        assert answer["error"] == "Forbidden" and "claude-sonnet-*" in answer["detail"]
        assert (await generated(socket))["success"] is True
    assert [connection.body["model"] for connection in claude.seen] == ["claude-sonnet-5-5"]


async def test_tokens_and_slots_that_a_key_has_not_got_are_error_frames(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    key = make_key(concurrency=1)
    async with upstream(hanging) as claude:
        async with http.ws_connect(await serve(claude.url) + PATH, headers=shown(key)) as socket:
            await socket.send_json(ASK | {"id": "first"})
            await until(lambda: claude.seen)
            answer = await generated(socket, id="second")
            assert (answer["error"], answer["id"]) == ("This server's limit for you is reached", "second")
            assert "1 generations at once" in answer["detail"]
    assert len(claude.seen) == 1


async def test_another_key_in_a_later_frame_makes_another_caller_of_it(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream) -> None:
    one, other = make_key("one", requests_per_minute=1), make_key("other", requests_per_minute=2)
    url = await serve(claude.url)
    async with http.ws_connect(url + PATH, headers=shown(one)) as socket:
        assert [(await generated(socket))["success"] for _ in range(2)] == [True, False]
        await introduced(socket, other)
        assert [(await generated(socket))["success"] for _ in range(3)] == [True, True, False]
    assert {name: await requests_of(http, url, key) for name, key in (("one", one), ("other", other))} == {
        "one": 1, "other": 2}


async def requests_of(http: aiohttp.ClientSession, url: str, key: str) -> int:
    """How many generations that reached Claude are in the key's accounts."""
    async with http.get(f"{url}/api/usage", headers=shown(key)) as response:
        figures = (await response.json())["today"]
    return int(figures["requests"]) - int(figures["failed"])


async def test_a_bad_key_in_a_later_frame_closes_the_socket_too(serve: Serve, http: aiohttp.ClientSession) -> None:
    key = make_key()
    async with http.ws_connect(await serve() + PATH, headers=shown(key)) as socket:
        assert (await introduced(socket, key[:-1]))["error"] == NEEDED
        assert await ended(socket) == 1008


@pytest.mark.parametrize("key", ["anything", "aio_wrong", "\0"])
async def test_without_keys_a_key_in_a_frame_is_answered_well_and_not_looked_at(
        serve: Serve, http: aiohttp.ClientSession, key: str) -> None:
    async with http.ws_connect(await serve() + PATH) as socket:
        assert (await introduced(socket, key)).items() >= {"type": "auth", "success": True}.items()
        assert (await generated(socket))["success"] is True


async def test_a_malformed_frame_of_a_caller_who_is_known_closes_nothing(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(await serve() + PATH, headers=shown(make_key())) as socket:
        for sent in FIRST.values():
            if not isinstance(sent, bytes) and "prompt" not in sent and "message" not in sent:
                await socket.send_str(sent)
                assert (await told(socket))["success"] is False
        last = await generated(socket)
        assert last["success"] is True, last


async def test_a_key_in_a_first_frame_over_a_mebibyte_closes_the_socket(
        serve: Serve, http: aiohttp.ClientSession) -> None:
    make_key()
    async with http.ws_connect(await serve() + PATH) as socket:
        await socket.send_json({"type": "auth", "key": "x" * 2**20})
        assert (await told(socket))["error"] == NEEDED
        assert await ended(socket) == 1008


async def test_while_the_database_is_gone_a_frame_is_refused_and_no_first_one_lets_anybody_in(
        serve: Serve, http: aiohttp.ClientSession, claude: Upstream) -> None:
    key = make_key()
    url = await serve(claude.url)
    async with http.ws_connect(url + PATH, headers=shown(key)) as known, http.ws_connect(url + PATH) as unknown:
        database().rename(database().with_name("aside"))
        await health_is(503, http, url)
        assert (await generated(known))["error"] == "The server's database cannot be used"
        assert (await introduced(unknown, key))["error"] == "The server's database cannot be used"
        assert await ended(unknown) == 1008
        assert not claude.seen
        database().with_name("aside").rename(database())
        await health_is(200, http, url)
        assert (await generated(known))["success"] is True
        assert len(claude.seen) == 1


async def health_is(status: int, http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            async with http.get(f"{url}/health") as response:
                if response.status == status:
                    return
            await asyncio.sleep(0.02)
