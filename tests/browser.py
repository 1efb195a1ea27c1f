"""A headless Chromium for tests, driven over its DevTools protocol with nothing but aiohttp.

    async with open_browser(executable, tmp_path / "profile") as browser:
        page = await browser.open_page(url)
        await page.click("button")
        await page.wait_for("document.title === 'Done'")
        assert not page.console and not page.blocked

Chromium is told that no host but this one exists, so a page that needs the internet fails here as it would offline.
"""
import asyncio
import base64
import json
import os
import shutil
from asyncio.subprocess import DEVNULL, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad",
    "--disable-background-timer-throttling", "--no-proxy-server", "--window-size=1280,900", "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
)
# The condition is looked at inside the page: a look costs no round trip, and an error in it counts as "not yet".
POLL = """(async () => {
  let seen;
  for (const end = Date.now() + %d; Date.now() < end; await new Promise(wake => setTimeout(wake, 20)))
    try { if (seen = await (%s)) return } catch (error) { seen = error }
  throw new Error(`never true: ${%s}; last seen: ${seen}`);
})()"""

Message = dict[str, Any]


def find_chromium() -> str | None:
    """The path of `$CHROMIUM`, or of the first Chromium on the PATH; None where there is none."""
    candidates = (os.environ.get("CHROMIUM", ""), *NAMES)
    return next(filter(None, map(shutil.which, candidates)), None)


@dataclass
class DevTools:
    """The one socket to Chromium: calls go out by number, events come in by session."""

    socket: ClientWebSocketResponse
    numbers: Iterator[int] = field(default_factory=count)
    waiting: dict[int, asyncio.Future[Message]] = field(default_factory=dict)
    listeners: dict[str, Callable[[str, Message], None]] = field(default_factory=dict)

    async def call(self, method: str, session: str | None = None, *, seconds: float = 30, **params: Any) -> Message:
        """Call a method, of the browser or of a session's page; AssertionError with Chromium's reason if it fails."""
        number = next(self.numbers)
        self.waiting[number] = asyncio.get_running_loop().create_future()
        address = {"sessionId": session} if session else {}
        await self.socket.send_json({"id": number, "method": method, "params": params, **address})
        async with asyncio.timeout(seconds):
            reply = await self.waiting[number]
        assert "error" not in reply, f"{method}: {reply['error']['message']}"
        return dict(reply["result"])

    async def listen(self) -> None:
        """Hand out what Chromium says until it hangs up; calls still waiting then fail."""
        async for message in self.socket:
            self._hand_out(message.json())
        for number in tuple(self.waiting):
            self._hand_out({"id": number, "error": {"message": "Chromium hung up"}})

    def _hand_out(self, message: Message) -> None:
        if "method" in message:
            if hear := self.listeners.get(message.get("sessionId", "")):
                hear(message["method"], message["params"])
        elif not (reply := self.waiting.pop(message["id"])).done():
            reply.set_result(message)


@dataclass
class Page:
    """One tab: what was run in it, and what went wrong in it."""

    devtools: DevTools
    session: str
    console: list[str] = field(default_factory=list)
    """Errors on the console: logged, thrown, or reported by the browser itself (CSP, 404)."""
    blocked: list[str] = field(default_factory=list)
    """Requests that got no answer, as `reason URL`. A page may cancel its own; those do not count."""
    requests: list[str] = field(default_factory=list)
    """Every URL asked for, WebSockets and `data:` included."""
    _urls: dict[str, str] = field(default_factory=dict)
    _loads: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    async def call(self, method: str, **params: Any) -> Message:
        """Call a DevTools method of this tab."""
        return await self.devtools.call(method, self.session, **params)

    async def visit(self, url: str) -> None:
        """Open a URL and wait until it has loaded."""
        reply = await self.call("Page.navigate", url=url)
        assert "errorText" not in reply, f"{url}: {reply['errorText']}"
        async with asyncio.timeout(30):
            await self._loads[reply["loaderId"]].wait()

    async def evaluate(self, js: str, *, seconds: float = 30) -> Any:
        """The value of an expression, awaited if it is a promise; AssertionError with the page's error."""
        reply = await self.call("Runtime.evaluate", seconds=seconds, expression=js,
                                awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in reply, _exception_text(reply["exceptionDetails"])
        return reply["result"].get("value")

    async def wait_for(self, js_condition: str, seconds: float = 20) -> None:
        """Return as soon as the expression is truthy; AssertionError after `seconds`."""
        poll = POLL % (seconds * 1000, js_condition, json.dumps(js_condition))
        await self.evaluate(poll, seconds=seconds + 10)

    async def click(self, css: str) -> None:
        """Click the first element that matches, as soon as there is one that is not disabled."""
        target = f"document.querySelector({json.dumps(css)})"
        await self.wait_for(f"{target}.disabled !== true")
        await self.evaluate(f"{target}.click()")

    async def type(self, css: str, text: str) -> None:
        """Replace a field's text, by real input events: frameworks that watch the field notice."""
        target = f"document.querySelector({json.dumps(css)})"
        await self.wait_for(target)
        await self.evaluate(f"{target}.focus(), {target}.select()")
        await self.call("Input.insertText", text=text)

    async def screenshot(self, path: Path) -> None:
        """Write a PNG of what the window shows."""
        reply = await self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(reply["data"]))

    def hear(self, method: str, event: Message) -> None:
        """Note an event of this page."""
        match method, event:
            case "Page.lifecycleEvent", {"name": "load", "loaderId": loader}:
                self._loads[loader].set()
            case "Runtime.consoleAPICalled", {"type": "error" | "assert", "args": args}:
                self.console.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in args))
            case "Runtime.exceptionThrown", {"exceptionDetails": details}:
                self.console.append(_exception_text(details))
            case "Log.entryAdded", {"entry": {"level": "error", "text": text} as entry}:
                self.console.append(f"{text} {entry.get('url', '')}".rstrip())
            case "Network.requestWillBeSent", {"requestId": number, "request": {"url": url}}:
                self._note_request(number, url)
            case "Network.webSocketCreated", {"requestId": number, "url": url}:
                self._note_request(number, url)
            case "Network.loadingFailed", {"canceled": False, "requestId": number, "errorText": reason}:
                self.blocked.append(f"{event.get('blockedReason', reason)} {self._urls.get(number)}")

    def _note_request(self, number: str, url: str) -> None:
        self.requests.append(url)
        self._urls[number] = url


def _exception_text(details: Message) -> str:
    return str(details.get("exception", {}).get("description") or details["text"])


@dataclass
class Browser:
    """A running Chromium."""

    devtools: DevTools

    async def open_page(self, url: str) -> Page:
        """A new tab with storage of its own, in which the URL has loaded."""
        context = await self.devtools.call("Target.createBrowserContext")
        target = await self.devtools.call("Target.createTarget", url="about:blank", **context)
        attached = await self.devtools.call("Target.attachToTarget", flatten=True, **target)
        page = Page(self.devtools, attached["sessionId"])
        self.devtools.listeners[page.session] = page.hear
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        await page.call("Page.setLifecycleEventsEnabled", enabled=True)
        await page.visit(url)
        return page


@asynccontextmanager
async def open_browser(executable: str, profile: Path) -> AsyncIterator[Browser]:
    """Run Chromium with an empty directory as its profile, and end it on the way out."""
    async with _run(executable, profile) as address, ClientSession() as session:
        async with session.ws_connect(address, max_msg_size=0) as socket:
            devtools = DevTools(socket)
            listening = asyncio.create_task(devtools.listen())
            try:
                yield Browser(devtools)
            finally:
                await socket.close()
                await listening


@asynccontextmanager
async def _run(executable: str, profile: Path) -> AsyncIterator[str]:
    """The process, as the address of its DevTools socket."""
    process = await asyncio.create_subprocess_exec(  # at home in the profile: caches stay out of the caller's HOME
        executable, *FLAGS, f"--user-data-dir={profile}", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL,
        env={**os.environ, "HOME": str(profile)})
    try:
        yield await _address(process, profile / "DevToolsActivePort")
    finally:
        await _end(process)


async def _address(process: Process, announcement: Path) -> str:
    """Wait for the file in which Chromium announces its port and path."""
    async with asyncio.timeout(30):
        while not (announcement.exists() and (lines := announcement.read_text().split())):
            assert process.returncode is None, f"Chromium ended with {process.returncode} before it listened"
            await asyncio.sleep(0.02)
    port, path = lines
    return f"ws://127.0.0.1:{port}{path}"


async def _end(process: Process) -> None:
    """Ask it to leave, so that it takes its children along; insist after a while."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
