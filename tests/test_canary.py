"""Canary secrets go in as keys, tokens, prompts and answers, everywhere one can; and come out nowhere else."""
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from aioapp import Settings, create_app, main
from tests.keyed import database, make_key, shown
from tests.processes import PATIENCE, Server, serving
from tests.upstreams import BLOCK, END, MESSAGE, START, Connection, Upstream, delta, upstream

COMMAND = (sys.executable, "-m", "tests.test_canary", "--port", "0", "--log-level", "debug")
WRONG = "aio_0123456789abcdef_canary-wrong-key-0123456789012345678901234"
CANARIES = {
    "wrong key": "canary-wrong-key", "api key": "sk-ant-canary-api", "token": "sk-ant-canary-token",
    "login": "sk-ant-canary-login", "prompt": "canary-prompt", "system": "canary-system", "history": "canary-history",
    "answer": "canary-answer",
}
ENVIRONMENT = {"ANTHROPIC_API_KEY": CANARIES["api key"], "ANTHROPIC_AUTH_TOKEN": CANARIES["token"],
               "CLAUDE_CODE_OAUTH_TOKEN": CANARIES["login"]}
OWN = frozenset({"prompt", "answer"})
"""What an answer to one's own request holds."""
NOTHING: frozenset[str] = frozenset()
BODY = {"prompt": "Say canary-prompt", "system": "Be canary-system", "max_tokens": 50}
CHAT = {"message": "Say canary-prompt", "history": [
    {"role": "user", "content": "canary-history"}, {"role": "assistant", "content": "canary-history"}]}


def faulty(settings: Settings, *, loopback: bool) -> web.Application:
    """The application with a fault in it, which has the caller's prompt at hand."""
    async def fault(request: web.Request) -> web.Response:
        prompt = (await request.json())["prompt"]
        raise LookupError(f"a fault after {len(prompt)} characters")

    app = create_app(settings, loopback=loopback)
    app.router.add_post("/fault", fault)
    return app


async def claude(connection: Connection) -> None:
    """Answers with a canary, well, or as badly as the prompt asks for."""
    echo = json.dumps({"error": {"type": "e", "message": f"{connection.headers} {connection.body} canary-answer"}})
    match str(connection.body["messages"][-1]["content"]).partition(" ")[0]:
        case "refused":
            await connection.answer(401, echo.encode())
        case "broken":
            await connection.answer(500, echo.encode())
        case "garbage":
            await connection.answer(200, b"<p>canary-answer</p>", "text/html")
        case "nonsense":
            await connection.answer(200, json.dumps({**MESSAGE, "content": "canary-answer"}).encode())
        case "cut":
            await connection.begin()
            await connection.chunk(START + BLOCK + delta("canary-answer"))
            connection.cut()
        case "held":
            await connection.begin()
            await connection.chunk(START + BLOCK + delta("canary-answer"))
            await connection.gone.wait()
        case _ if connection.body.get("stream"):
            await connection.stream(START + BLOCK + delta("canary-answer") + END)
        case _:
            text = {"type": "text", "text": "canary-answer"}
            await connection.answer(200, json.dumps({**MESSAGE, "content": [text]}).encode())


TROUBLE = ("refused", "broken", "garbage", "nonsense", "cut")


@dataclass
class Told:
    """What came out, and which canaries may be in it."""

    where: str
    text: str
    allowed: frozenset[str] = NOTHING

    def leaks(self, canaries: Mapping[str, str]) -> Iterator[str]:
        for name, canary in canaries.items():
            if name not in self.allowed and canary in self.text:
                at = self.text.index(canary)
                yield f"{name} in {self.where}: {self.text[max(0, at - 200):at + 60]!r}"


@dataclass
class Spy:
    """Asks, and keeps all that it is told."""

    http: aiohttp.ClientSession
    url: str
    told: list[Told] = field(default_factory=list)

    async def ask(self, method: str, path: str, *, allowed: frozenset[str] = NOTHING, **sent: Any) -> str:
        async with self.http.request(method, self.url + path, allow_redirects=False, **sent) as response:
            try:
                body = await response.text()
            except aiohttp.ClientPayloadError:
                body = ""  # it was cut, as asked for
            assert response.status != 500 or path == "/fault"
            allowed = allowed if response.status < 400 else NOTHING
            self.told.append(Told(f"{method} {path} {response.status}", f"{response.headers} {body}", allowed))
        return body

    async def frames(self, *sent: Mapping[str, Any], **connected: Any) -> None:
        """On a socket of their own, until each is answered or the socket is closed."""
        async with self.http.ws_connect(f"{self.url}/ws/generate", **connected) as socket:
            for one in sent:
                await socket.send_json(one)
            count = 0
            while count < len(sent):
                message = await socket.receive()
                text = str(message.data) + str(message.extra)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    self.told.append(Told("a close", text))
                    break
                frame = json.loads(message.data)
                allowed = OWN if frame.get("type") in ("start", "delta", "done") or frame["success"] else NOTHING
                self.told.append(Told("a frame", text, allowed))
                count += "success" in frame

    async def raw(self, data: bytes) -> None:
        """Send what is no HTTP. aiohttp itself answers that, and quotes it to whoever sent it; which is not logged."""
        address = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(data)
        self.told.append(Told(repr(data[:20]), (await reader.read()).decode(), frozenset({"key", "wrong key"})))
        writer.close()

    async def leave(self, key: str) -> None:
        """Hang up in the middle of an answer."""
        held = BODY | {"prompt": "held canary-prompt"}
        async with self.http.post(f"{self.url}/api/stream", json=held, headers=shown(key)) as response:
            assert await response.content.readuntil(b"\n\n") == b"data: canary-answer\n\n"
            response.close()
        async with self.http.ws_connect(f"{self.url}/ws/generate", headers=shown(key)) as socket:
            await socket.send_json(held | {"stream": True})
            assert (await socket.receive_json())["type"] == "start"


async def generates(spy: Spy, key: str) -> None:
    for path, body in (("/api/generate", BODY), ("/api/chat", CHAT)):
        await spy.ask("POST", path, json=body, headers=shown(key), allowed=OWN)
    for path, body in (("/api/stream", BODY), ("/api/stream", BODY | {"format": "events"}), ("/api/chat/stream", CHAT)):
        await spy.ask("POST", path, json=body, headers={"Authorization": f"Bearer {key}"}, allowed=OWN)
    await spy.frames(BODY, {**BODY, "stream": True}, {"type": "chat", **CHAT}, headers=shown(key))
    await spy.frames({"type": "auth", "key": key}, BODY)
    await spy.leave(key)


async def fails(spy: Spy, key: str) -> None:
    """Every kind of error, in every form."""
    for wrong in ({"system": "canary-system"}, BODY | {"max_tokens": "canary-prompt"},
                  BODY | {"effort": "canary-system"}, BODY | {"prompt": ["canary-prompt"]},
                  BODY | {"prompt": "canary-prompt" * 20_000}):
        for path in ("/api/generate", "/api/stream"):
            await spy.ask("POST", path, json=wrong, headers=shown(key))
        await spy.frames(wrong, headers=shown(key))
    for data in (b"{canary-prompt", b"canary-prompt" * 100_000):
        for kind in ("application/json", "text/plain"):
            await spy.ask("POST", "/api/generate", data=BytesIO(data), headers={"Content-Type": kind, **shown(key)})
    await spy.ask("POST", "/fault", json=BODY, headers=shown(key))
    await spy.ask("POST", "/nonesuch", json=BODY, headers=shown(key))
    await spy.ask("PUT", "/api/generate", json=BODY, headers=shown(key))
    await asyncio.gather(*[trouble(spy, key, kind) for kind in TROUBLE])


async def trouble(spy: Spy, key: str, kind: str) -> None:
    body = BODY | {"prompt": f"{kind} canary-prompt"}
    await asyncio.gather(
        spy.ask("POST", "/api/generate", json=body, headers=shown(key)),
        spy.ask("POST", "/api/stream", json=body, headers=shown(key), allowed=OWN),
        spy.frames(body, body | {"stream": True}, headers=shown(key)))


async def is_shown(spy: Spy, key: str) -> None:
    """The key, right or wrong, wherever one may think that it belongs."""
    for path in ("/auth-status", "/api/usage", "/admin", "/admin/keys", "/metrics", "/", "/docs", "/nonesuch"):
        for headers in (shown(key), {"Host": "evil.example", **shown(key)}, {"Cookie": f"aioapp_admin={key}"},
                        *[{"Authorization": f"{scheme}{key}"} for scheme in ("Bearer ", "Basic ", "")]):
            await spy.ask("GET", f"{path}?key={key}&access_token={key}", headers=headers)
    for form in ({"key": key}, {"key": f" {key}\n"}, {"key": key + key}, {"password": key}):
        await spy.ask("POST", "/admin/session", data=form)
        await spy.ask("POST", "/admin/session", data=form, headers={"Origin": "https://evil.example"})
    await spy.ask("POST", "/admin/session/end", headers={"Cookie": f"aioapp_admin={key}"})
    for frame in ({"type": "auth", "key": key}, {"type": "auth", "key": [key]}, {"type": "auth", "password": key},
                  {"type": "auth", "key": key + "x"}, {"auth": key}):
        await spy.frames(frame)
    await spy.frames({"type": "auth", "key": key}, protocols=["bearer", key])  # as some do who can send no header
    for line in ("GET / HTTP/1.1\r\nX-API-Key: {}\0\r\n", "GET / HTTP/1.1\r\n{}\r\n", "{} / HTTP/1.1\r\n",
                 "GET / HTTP/1.1\r\nContent-Length: {}\r\n", "GET / {}\r\n"):
        await spy.raw(f"{line.format(key)}\r\n".encode())


async def administers(spy: Spy, key: str, *, kept: bool) -> str:
    """All that there is for administrators. Gives a secret that was shown once."""
    made = await spy.ask("POST", "/admin/keys", json={"name": "new"}, headers=shown(key), allowed=frozenset({"new"}))
    for body in ({"name": "canary-wrong-key" * 9}, {"name": "x", "models": [7, {"canary-system": 1}]}):
        await spy.ask("POST", "/admin/keys", json=body, headers=shown(key))
    for path in ("/admin", "/admin/keys", "/admin/keys/new", "/admin/audit", "/admin/usage?by=key",
                 "/admin/usage?by=model", "/admin/usage?by=day", "/api/usage", "/metrics", "/auth-status", "/health",
                 "/openapi.json", "/docs", "/redoc", "/admin/assets/admin.js", "/docs/assets/redoc.js"):
        await spy.ask("GET", path, headers=shown(key))
    told = await spy.ask("GET", "/admin/requests?limit=500", headers=shown(key),
                         allowed=frozenset({"prompt"} if kept else ()))
    assert len(json.loads(told)["requests"]) > 10
    await spy.ask("DELETE", "/admin/keys/new", headers=shown(key))
    return str(json.loads(made)["secret"])


@asynccontextmanager
async def spying(*flags: str, env: Mapping[str, str]) -> AsyncIterator[tuple[Spy, Server, Upstream]]:
    async with (asyncio.timeout(3 * PATIENCE), upstream(claude) as asked,
                serving(*flags, command=COMMAND, env={**env, "ANTHROPIC_BASE_URL": asked.url}) as server,
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http):
        yield Spy(http, server.url), server, asked


def kept_bytes() -> Iterator[Told]:
    for path in database().parent.rglob("*"):
        if path.is_file():
            yield Told(path.name, path.read_bytes().decode("latin-1"))


@pytest.mark.parametrize("debug", ["--debug", "--no-debug"])
@pytest.mark.parametrize(("form", "keep", "variables"), [
    ("text", "--no-keep-prompts", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"]),
    ("json", "--no-keep-prompts", ["ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"]),
    ("json", "--keep-prompts", ["CLAUDE_CODE_OAUTH_TOKEN"]),
])
async def test_secrets_and_prompts_come_out_where_they_belong_and_nowhere_else(
        form: str, keep: str, variables: list[str], debug: str) -> None:
    admin, caller, kept = make_key("boss", admin=True), make_key("web"), keep == "--keep-prompts"
    env = {name: ENVIRONMENT[name] for name in variables}
    async with spying("--log-format", form, debug, keep, env=env) as (spy, server, asked):
        await asyncio.gather(generates(spy, caller), fails(spy, caller), is_shown(spy, caller), is_shown(spy, WRONG),
                             is_shown(spy, caller[:-1]))
        await is_shown(spy, admin)
        secret = await administers(spy, admin, kept=kept)
        spy.told += kept_bytes()
        assert await server.end() == 0
    canaries = {**CANARIES, "key": caller[21:-3], "admin's key": admin[21:-3], "new": secret[21:-3]}
    out = [Told("stdout", server.out), Told("stderr", server.err), *spy.told, *kept_bytes()]
    for told in out:
        told.allowed |= {"admin's key"} if "key" in told.allowed else NOTHING
        told.allowed |= {"prompt"} if kept and told.where.startswith(database().name) else NOTHING
    assert [leak for told in out for leak in told.leaks(canaries)] == []
    # That something is looked at: what goes in does come out where it should.
    assert ENVIRONMENT[variables[0]] in str(asked.seen[0].headers) and "canary-system" in str(asked.seen[0].body)
    assert sum("canary-answer" in told.text for told in out) > 5
    assert any("canary-prompt" in told.text for told in kept_bytes()) == kept
    assert " web " in server.err or '"key":"web"' in server.err
    assert server.err.count("Traceback (most recent call last)") == server.err.count("LookupError: a fault") > 0


if __name__ == "__main__":
    sys.exit(main(build=faulty))
