"""The page for administrators in a real browser; who is let in to it, and what it lets nobody do."""
import asyncio
import base64
import hashlib
import json
import os
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from aioapp.app import create_app
from aioapp.callers import Caller
from aioapp.settings import Settings
from aioapp.store.embedded.keys import stamp
from tests.browser import Browser, Page, find_chromium, open_browser
from tests.conftest import Serve, start, with_services
from tests.generations import Clock, ended, ledger_at
from tests.keyed import accounts, database, make_key, revoke, shown
from tests.processes import PATIENCE
from tests.test_docs import chromium

FORM = "application/x-www-form-urlencoded"
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
          "form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
LOGIN_POLICY = ("default-src 'none'; style-src 'sha256-{}'; img-src data:; form-action 'self'; base-uri 'none'; "
                "frame-ancestors 'none'")
FOREIGN = ("https://evil.example", "http://127.0.0.1:1", "http://127.0.0.1", "null", "", "file://")
EVIL = "<img src=x onerror=alert(1)>"
EVILS = (
    EVIL, "\"'><script>alert(1)</script>", "</template></style><svg onload=alert(1)>", "__proto__", "\u202e\x00\n&lt;")
MADE_OF_TEXT = "document.querySelectorAll('img, iframe, object, style, body script, [onload], [onerror]').length"
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
WIDTHS = "[innerWidth, document.documentElement.scrollWidth, document.body.scrollWidth]"
GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with open_browser(chromium(find_chromium(), os.environ), tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
def boss() -> str:
    return make_key("boss", admin=True)


def kept(held: str) -> dict[str, str]:
    return {"Cookie": f"aioapp_admin={held}"}


async def session(http: aiohttp.ClientSession, url: str, key: str) -> dict[str, str]:
    """Sign in; gives the header with the cookie that a browser sends from then on."""
    async with http.post(f"{url}/admin/session", data={"key": key}, allow_redirects=False) as response:
        assert response.status == 303
        return kept(response.cookies["aioapp_admin"].value)


async def refusal(http: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> str:
    """Why the page is not shown to who sends this."""
    async with http.get(f"{url}/admin", headers=headers) as response:
        assert response.status == 401
        [said] = re.findall('<p role="alert">(.*?)</p>', await response.text())
        return str(said)


async def status(http: aiohttp.ClientSession, url: str, headers: dict[str, str], method: str = "GET") -> int:
    async with http.request(method, url, headers=headers, allow_redirects=False) as response:
        return response.status


async def arrive(page: Page, condition: str) -> None:
    """Wait for the condition in the page that is to come."""
    async with asyncio.timeout(10):
        while True:
            with suppress(AssertionError, TimeoutError):  # what a page is asked while it goes may never be answered
                if await page.evaluate(condition, seconds=0.5):
                    return
            await asyncio.sleep(0.02)


async def sign_in(page: Page, key: str) -> None:
    await page.evaluate("document.body.dataset.old = 'yes'")
    await page.type("#key", key)
    await page.click("form button")
    await arrive(page, "document.readyState === 'complete' && !document.body.dataset.old")


async def text(page: Page, css: str) -> str:
    found: str = await page.evaluate(f"document.querySelector({json.dumps(css)}).textContent")
    return found


async def new_secret(page: Page) -> str:
    await page.wait_for("document.querySelector('#secret').textContent")
    secret = await text(page, "#secret")
    await page.click("#secret-close")
    await page.wait_for(f"!document.documentElement.outerHTML.includes('{secret}')")
    return secret


async def confirm(page: Page, deed: str) -> None:
    await page.click(f"#keys tr[data-key=web] .{deed}")
    await page.evaluate("document.querySelector('#grace').value = 0")
    await page.click("#confirm-yes")


async def test_an_administrator_makes_a_key_sees_it_used_renews_it_and_ends_it(
        serve: Serve, http: aiohttp.ClientSession, browser: Browser, boss: str) -> None:
    caller, url = make_key("caller"), await serve()
    page = await browser.open_page(f"{url}/admin")
    assert await page.evaluate("document.querySelector('[role=alert]') === null")
    for key, told in (("aio_nonsense", "This key is not known."), (caller, "This needs an admin key.")):
        await sign_in(page, key)
        assert await text(page, "[role=alert]") == told
    await sign_in(page, f" {boss} ")
    assert await page.evaluate("[location.pathname, document.cookie]") == ["/admin", ""]

    await page.click("#new-key")
    for field, value in {"name": "web", "requests_per_minute": "3", "budget.usd": "0.5", "models": "claude-*"}.items():
        await page.type(f'[name="{field}"]', value)
    await page.click("#create-yes")
    secret = await new_secret(page)
    await page.wait_for("document.querySelector('#keys tr[data-key=web]')")
    assert await text(page, "#keys tr[data-key=web] [data-of=limits]") == "3 requests/min"
    assert await text(page, "#keys tr[data-key=web] [data-of=budget]") == "$0 of $0.50 a month"
    for expected in (200, 200, 200, 429):
        async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}, headers=shown(secret)) as response:
            assert response.status == expected
    await page.wait_for("document.querySelectorAll('#requests tbody').length === 5")  # it looks every ten seconds
    await page.wait_for("document.querySelector('#total-requests').textContent === '3'")
    assert await text(page, "#by-key tr[data-id=web] [data-of=requests]") == "3"
    assert await text(page, "#total-cost") == await text(page, "#by-key tr[data-id=web] [data-of=cost]") != "$0"
    assert await page.evaluate("+[...document.querySelectorAll('#by-day .day')].at(-1).getAttribute('height')") > 0

    await confirm(page, "rotate")
    keys = (secret, await new_secret(page))
    assert [await status(http, f"{url}/auth-status", shown(key)) for key in keys] == [401, 200]
    await confirm(page, "revoke")
    await page.wait_for("document.querySelector('#keys tr[data-key=web]').dataset.state === 'revoked'")
    assert [await status(http, f"{url}/auth-status", shown(key)) for key in keys] == [401, 401]

    await page.click("#sign-out")
    await arrive(page, "document.querySelector('#key') !== null")
    assert (await page.call("Network.getCookies"))["cookies"] == []
    failed = [re.sub(r".* status of (\d+) .* ", r"\1 ", line.replace(url, "")) for line in page.console]
    assert failed == ["401 /admin", "401 /admin/session", "403 /admin/session", "401 /admin"]
    assert page.blocked == [] and not [asked for asked in page.requests if not asked.startswith((f"{url}/", "data:"))]


AXE = """axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations
  .filter(({impact}) => ["serious", "critical"].includes(impact))
  .map(({id, nodes}) => `${id}: ${nodes.map(node => node.html.slice(0, 120)).join(" ")}`))"""
"""The serious faults of accessibility that axe-core finds."""
NESTED = """[...document.querySelectorAll('body *')].filter(element => element.checkVisibility()
  && /auto|scroll/.test(getComputedStyle(element).overflowY) && element.scrollHeight > element.clientHeight
  && element.matches(':not(select, input, .details dd)')).map(element => element.outerHTML.slice(0, 80))"""


async def test_a_lead_sees_a_key_near_its_budget_spend_it_and_be_refused_and_lifts_the_budget(
        serve: Serve, http: aiohttp.ClientSession, browser: Browser, boss: str) -> None:
    url = await serve()
    page = await browser.open_page(f"{url}/admin")
    await sign_in(page, boss)
    await page.wait_for("document.querySelector('#status').textContent === 'Nothing is wrong.'")

    await page.click("#new-key")
    await page.evaluate("document.querySelector('#preset').value = 'trial';"
                        "document.querySelector('#preset').dispatchEvent(new Event('change', {bubbles: true}))")
    await page.type("[name=name]", "web")
    await page.click("#create-yes")
    await page.wait_for("document.querySelector('#secret').textContent")
    call, variables = await text(page, "#use-curl"), await text(page, "#use-env")
    secret = await new_secret(page)
    assert f"-H 'X-API-Key: {secret}'" in call and variables.endswith(f"ANTHROPIC_AUTH_TOKEN={secret}")
    assert call.startswith(f"curl {url}/api/generate ") and f"ANTHROPIC_BASE_URL={url} " in variables

    async def generate() -> int:
        body = {"prompt": "count to 30", "max_tokens": 100}
        async with http.post(f"{url}/api/generate", json=body, headers=shown(secret)) as response:
            return response.status

    async def budget(usd: float | str) -> None:
        await page.wait_for("document.querySelector('#keys tr[data-key=web] .edit')")
        await page.click("#keys tr[data-key=web] .edit")
        await page.evaluate("document.querySelector('[name=\"budget.usd\"]').value = ''")
        await page.type('[name="budget.usd"]', str(usd))
        await page.click("#create-yes")
        await page.wait_for("!document.querySelector('#create').open")

    async def becomes(state: str) -> None:
        await page.wait_for(f"document.querySelector('#keys tr[data-key=web]').dataset.state === '{state}'")

    assert await generate() == 200
    async with http.get(f"{url}/admin/keys/web", headers=shown(boss)) as response:
        spent = (await response.json())["key"]["spent_usd"]
    await budget(round(spent * 1.2, 9))
    await becomes("near_budget")
    assert await text(page, "#keys tr[data-key=web] .state") == "near budget"
    await budget(round(spent, 9))
    await becomes("spent")
    assert await generate() in (400, 402)
    await page.click("[name=days][value='7']")  # it looks again
    await page.wait_for("document.querySelector('#status a[href*=refused]')")
    assert await text(page, "#status a[href*=refused]") == "1 refused today"
    await page.click("#status a[href*=refused]")
    await page.wait_for("document.querySelectorAll('#requests tbody').length === 1")
    assert await text(page, "#requests [data-of=outcome]") == "refused"
    assert await page.evaluate("document.querySelector('#filters').outcome.value") == "refused"
    await budget("")
    await becomes("active")
    assert await generate() == 200
    await page.evaluate("history.back()")
    await page.wait_for("document.querySelectorAll('#requests tbody').length === 3")

    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "dark"), (390, "light")):
        await page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        await page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, scheme)
        assert await page.evaluate(NESTED) == [], (width, scheme)
    failed = [line for line in page.console if "401" not in line]
    assert failed == page.blocked == []


async def test_tables_are_sorted_by_a_click_on_a_column_and_stay_so(
        serve: Serve, browser: Browser, boss: str) -> None:
    for name, spent in (("b", 0.3), ("a", 0.1), ("c", 0.2)):
        make_key(name, usd=1.0, spent=spent)
    page = await browser.open_page(f"{await serve()}/admin")
    await sign_in(page, boss)
    await page.wait_for("document.querySelectorAll('#by-key tbody tr').length === 3")

    async def order(table: str) -> tuple[str, list[str]]:
        names = await page.evaluate(f"[...document.querySelectorAll('#{table} tbody tr')].map(row => row.dataset.id)")
        heads = await page.evaluate(
            f"[...document.querySelectorAll('#{table} [aria-sort]')].map(head => head.innerText + ' ' + head.ariaSort)")
        return " ".join(heads), names

    assert await order("by-key") == ("Cost descending", ["b", "c", "a"])
    await page.click("#by-key [data-sort=name]")
    assert await order("by-key") == ("Key ascending", ["a", "b", "c"])
    await page.click("#by-key [data-sort=name]")
    assert await order("by-key") == ("Key descending", ["c", "b", "a"])
    assert await order("keys") == ("State ascending", ["a", "b", "boss", "c"])
    await page.click("#keys [data-sort=spent]")
    assert await order("keys") == ("Budget descending", ["b", "c", "a", "boss"])
    await page.click("[name=days][value='7']")  # it is read again
    await page.wait_for("document.querySelectorAll('#days tr').length === 7")
    assert await order("by-key") == ("Key descending", ["c", "b", "a"])
    assert (await order("keys"))[1] == ["b", "c", "a", "boss"]


async def test_no_serious_fault_of_accessibility_is_found(
        serve: Serve, http: aiohttp.ClientSession, browser: Browser, boss: str, installed: Path) -> None:
    make_key("near", usd=1.0, spent=0.9, note="for the fair", owner="ada@example.com")
    url = await serve()
    for model in ("claude-opus-5-5", "claude-haiku-5-5", "simulate-429"):
        body = {"prompt": "Hi", "model": model}
        async with http.post(f"{url}/api/generate", json=body, headers=shown(boss)) as response:
            await response.read()
    page = await browser.open_page(f"{url}/admin")
    await sign_in(page, boss)
    await page.wait_for("document.querySelectorAll('#requests tbody').length >= 3")
    await page.evaluate((installed / "node_modules" / "axe-core" / "axe.min.js").read_text() + "; 1")
    for width, scheme in ((1280, "light"), (390, "dark")):
        await page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        await page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        assert await page.evaluate(AXE) == [], (width, scheme)
    await page.click("#new-key")
    assert await page.evaluate(AXE) == []


async def test_a_strict_budget_is_asked_for_with_a_check_and_needs_an_amount(
        serve: Serve, http: aiohttp.ClientSession, browser: Browser, boss: str) -> None:
    make_key("plain", usd=5)
    url = await serve()
    page = await browser.open_page(f"{url}/admin")
    await sign_in(page, boss)
    await page.click("#new-key")
    await page.type("[name=name]", "web")
    await page.click('[name="budget.strict"]')
    await page.click("#create-yes")
    await page.wait_for("document.getElementById('budget.usd-problem').textContent")
    assert await text(page, "[id='budget.usd-problem']") == "field required"
    await page.type('[name="budget.usd"]', "5")
    await page.click("#create-yes")
    await new_secret(page)
    await page.wait_for("document.querySelector('#keys tr[data-key=web]')")
    assert await text(page, "#keys tr[data-key=web] [data-of=budget]") == "$0 of $5 a month, strict"
    assert await text(page, "#keys tr[data-key=plain] [data-of=budget]") == "$0 of $5 a day"
    async with http.get(f"{url}/admin/keys/web", headers=shown(boss)) as response:
        assert (await response.json())["key"]["budget"] == {"usd": 5.0, "per": "month", "strict": True}
    assert not await page.evaluate("document.querySelector('[name=\"budget.strict\"]').checked")


async def test_a_keys_terms_are_changed_in_a_form_that_sends_what_was_changed_alone(
        serve: Serve, http: aiohttp.ClientSession, browser: Browser, boss: str) -> None:
    end = datetime(2027, 1, 31, 12, 30, 15, tzinfo=UTC)
    make_key("web", usd=2e-9, strict=True, concurrency=4, models=("a", "b*"), expires_at=end, note="n", owner="o")
    make_key("day", expires_at=datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC))
    make_key("old", expires_at=datetime(2027, 2, 1, tzinfo=UTC))
    url = await serve()

    async def told() -> dict[str, object]:
        async with http.get(f"{url}/admin/keys/web", headers=shown(boss)) as response:
            return dict((await response.json())["key"])

    async def changes() -> set[str]:
        async with http.get(f"{url}/admin/audit", headers=shown(boss)) as response:
            return {change["field"] for change in (await response.json())["entries"][0]["changes"]}

    before, page = await told(), await browser.open_page(f"{url}/admin")
    await sign_in(page, boss)
    row = "#keys tr[data-key=web]"
    await page.click(f"{row} .edit")
    for name in ("day", "old"):
        assert await text(page, f"#keys tr[data-key={name}] [data-of=expires]") == "Jan 31, 2027"
    assert await text(page, "#create-title") == "Edit web" and await text(page, "#create-yes") == "Save"
    assert await page.evaluate("Object.fromEntries(new FormData(document.querySelector('#create-key')))") == {
        "name": "", "requests_per_minute": "", "tokens_per_minute": "", "concurrency": "4", "budget.usd": "2e-9",
        "budget.per": "day", "budget.strict": "on", "models": "a, b*", "note": "n", "owner": "o",
        "expires_at": end.astimezone().strftime("%Y-%m-%dT%H:%M")}
    assert not await page.evaluate("document.querySelector('#name').checkVisibility()")
    async with http.patch(f"{url}/admin/keys/web", json={"requests_per_minute": 7}, headers=shown(boss)) as response:
        assert response.ok  # another administrator, meanwhile
    await page.type("[name=concurrency]", "0")
    await page.click("#create-yes")
    await page.wait_for("document.querySelector('#concurrency-problem').textContent")
    await page.type("[name=concurrency]", "")
    await page.type("[name=owner]", "Ada <ada@example.com>")
    await page.click("#create-yes")
    await page.wait_for(f"document.querySelector('{row} [data-of=limits]').textContent === '7 requests/min'")
    assert await text(page, f"{row} [data-of=owner]") == "Ada <ada@example.com>"
    assert await told() == before | {
        "owner": "Ada <ada@example.com>",
        "limits": {"requests_per_minute": 7, "tokens_per_minute": None, "concurrency": None}}
    assert await changes() == {"concurrency", "owner"}

    await page.click(f"{row} .edit")
    for field in ("budget.usd", "models", "expires_at", "note"):
        await page.evaluate(f"document.getElementById('{field}').value = ''")
    await page.click("#create-yes")
    await page.wait_for("document.getElementById('budget.usd-problem').textContent")  # a strict budget needs an amount
    await page.click('[name="budget.strict"]')
    await page.click("#create-yes")
    await page.wait_for(f"document.querySelector('{row} [data-of=budget]').textContent === 'none'")
    assert {name: value for name, value in (await told()).items() if name in await changes()} == {
        "budget": None, "models": ["*"], "expires_at": None, "note": None}
    await page.click("#new-key")
    assert await text(page, "#create-title") == "New key"
    assert await page.evaluate("['owner', 'name'].map(name => document.getElementById(name).value)") == ["", ""]
    assert await page.evaluate("document.querySelector('#name').checkVisibility()")
    assert page.blocked == []


async def test_an_administrator_with_less_is_told_in_the_form_that_it_cannot_grant_more(
        serve: Serve, browser: Browser) -> None:
    small = make_key("small", admin=True, concurrency=2)
    make_key("web", concurrency=1)
    make_key("ended", concurrency=1)
    revoke("ended")
    page = await browser.open_page(f"{await serve()}/admin")
    await sign_in(page, small)
    await page.click("#keys tr[data-key=web] .edit")
    await page.type("[name=concurrency]", "3")
    await page.click("#create-yes")
    await page.wait_for("document.querySelector('#create-key [data-problem]').textContent")
    assert "cannot grant more than it has: concurrency" in await text(page, "#create-key [data-problem]")
    assert not await page.evaluate("document.querySelector('#keys tr[data-key=ended] .edit').checkVisibility()")


async def test_a_cost_that_is_a_guess_is_marked(serve: Serve, browser: Browser, boss: str) -> None:
    async with ledger_at(accounts(), clock=Clock(datetime.now(UTC))) as (ledger, _):
        for model in ("claude-opus-5-5", "claude-opus-9"):
            ledger.add(ended(nanodollars=3 * 10**8, model=model))
        await ledger.close()
    page = await browser.open_page(f"{await serve()}/admin")
    await sign_in(page, boss)
    await page.wait_for("document.querySelector('#simulated').checkVisibility()")
    await page.wait_for("document.querySelectorAll('#by-model tbody tr').length === 2")
    rows = await page.evaluate("""[...document.querySelectorAll('#by-model tbody tr')].map(row => {
        const cost = row.querySelector('[data-of=cost]'); return [row.dataset.id, cost.textContent, cost.title] })""")
    assert dict((name, said) for name, *said in rows) == {
        "claude-opus-5-5": ["$0.30", "$0.3"],
        "claude-opus-9": ["≈ $0.30", "$0.3, guessed: the price list does not have this model, so it is charged the "
                                     "most that any ever cost"]}


async def test_what_strangers_call_things_stays_text(
        serve: Serve, http: aiohttp.ClientSession, browser: Browser, boss: str) -> None:
    async with ledger_at(accounts(), clock=Clock(datetime.now(UTC)), keep_prompts=True) as (ledger, _):
        for evil in EVILS:
            record = ended(Caller(name=evil, known=True), 10**6, model=evil, outcome="failed", error=evil,
                           request_id=evil, text=evil)
            record.answer.stop_reason = evil
            ledger.add(record)
        await ledger.close()
    make_key("web", models=(EVIL.replace(" ", "/"),), note=EVIL, owner=EVILS[1])
    url = await serve(keep_prompts=True)
    async with http.post(f"{url}/api/generate", json={"prompt": EVIL, "model": EVIL}, headers=shown(boss)) as response:
        assert response.status == 200
    page = await browser.open_page(f"{url}/admin")
    await sign_in(page, boss)
    await page.wait_for("document.querySelector('#requests tbody') && document.querySelector('#by-key tbody tr')")
    for css in ("#by-key [data-of=name]", "#by-model [data-of=name]", *(
            f"#requests [data-of={of}]" for of in ("key", "model", "prompt", "error", "stop", "id"))):
        said = await page.evaluate(f"[...document.querySelectorAll('{css}')].map(place => place.textContent)")
        assert set(EVILS) <= set(said), css
    assert await text(page, "#keys tr[data-key=web] [data-of=models]") == EVIL.replace(" ", "/")
    assert [await text(page, f"#keys tr[data-key=web] [data-of={of}]") for of in ("note", "owner")] == [*EVILS[:2]]
    await page.click("#new-key")
    await page.type("[name=name]", EVIL)
    await page.click("#create-yes")
    await page.wait_for("document.querySelector('#name-problem').textContent")
    assert await page.evaluate(MADE_OF_TEXT) == 0
    assert [line for line in page.console if "/admin" not in line] == page.blocked == []

    revoke("boss")
    async with asyncio.timeout(5):
        while await status(http, f"{url}/auth-status", shown(boss)) != 401:
            await asyncio.sleep(0.05)
    await page.click("[name=days][value='7']")  # it asks again, and is at the login then
    await arrive(page, "document.querySelector('[role=alert]').textContent === 'This key was revoked.'")


async def test_the_page_fits_a_phone_and_is_dark_where_the_reader_wants_that(
        serve: Serve, browser: Browser, boss: str) -> None:
    async with ledger_at(accounts(), clock=Clock(datetime.now(UTC))) as (ledger, _):
        ledger.add(ended(
            Caller(name=64 * "w", known=True), 10**15, model=200 * "m", error=200 * "e", request_id=100 * "i"))
        await ledger.close()
    make_key(64 * "k", requests_per_minute=10**9, tokens_per_minute=10**9, usd=10**9, models=(100 * "m", "b"),
             note=500 * "n", owner=200 * "o")
    page = await browser.open_page(f"{await serve()}/admin")
    await page.call("Emulation.setDeviceMetricsOverride", **PHONE)
    assert await page.evaluate(WIDTHS) == [360, 360, 360]
    grounds = {await page.evaluate(GROUND)}
    await sign_in(page, boss)
    await page.wait_for("document.querySelectorAll('#requests tbody').length")
    assert await page.evaluate(GROUND) in grounds
    await page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    grounds.add(await page.evaluate(GROUND))
    await page.click("#requests .more")
    assert await page.evaluate(WIDTHS) == [360, 360, 360]
    await page.click("#new-key")
    assert await page.evaluate("document.querySelector('#create').scrollWidth") <= 360
    assert grounds == {"rgb(255, 255, 255)", "rgb(21, 24, 26)"}


async def test_the_pages_policies_let_in_nothing_but_their_own_parts(
        serve: Serve, http: aiohttp.ClientSession, boss: str) -> None:
    url = await serve()
    for headers, expected in (({}, LOGIN_POLICY), (await session(http, url, boss), POLICY)):
        async with http.get(f"{url}/admin", headers=headers) as response:
            style = "".join(re.findall("<style>(.*?)</style>", await response.text(), re.DOTALL))
            assert not re.search(r"<script(?! type=\"module\" src=)| on[a-z]+=| style=", await response.text())
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert response.headers["Content-Security-Policy"] == expected.format(digest)
        assert {name: response.headers[name] for name in (
            "Referrer-Policy", "X-Content-Type-Options", "Cache-Control")} == {
                "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


@pytest.mark.parametrize(("forwarded", "secure"), [({}, False), ({"X-Forwarded-Proto": "https"}, True)])
async def test_the_cookie_is_for_the_administration_only_and_no_script_or_other_site_has_it(
        serve: Serve, http: aiohttp.ClientSession, boss: str, forwarded: dict[str, str], secure: bool) -> None:
    url = await serve()
    asked = http.post(f"{url}/admin/session", data={"key": boss}, headers=forwarded, allow_redirects=False)
    async with asked as response:
        assert (response.status, response.headers["Location"]) == (303, "/admin")
        [(name, morsel)] = response.cookies.items()
    assert name == "aioapp_admin" and re.fullmatch("[A-Za-z0-9_-]{43}", morsel.value)
    assert {key: value for key, value in morsel.items() if value and key != "secure"} == {
        "path": "/admin", "httponly": True, "samesite": "Strict", "max-age": "43200"}
    assert bool(morsel["secure"]) == secure
    for path, expected in (
            ("/admin", 200), ("/admin/keys", 200), ("/admin/assets/admin.js", 200), ("/admin/assets/login.html", 404),
            ("/api/usage", 401), ("/auth-status", 401), ("/adminx", 401)):
        assert await status(http, url + path, kept(morsel.value)) == expected, path
    async with http.post(f"{url}/api/generate", json={"prompt": "Hi"}, headers=kept(morsel.value)) as response:
        assert response.status == 401


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_from_elsewhere_can_use_neither_the_cookie_nor_the_forms(
        serve: Serve, http: aiohttp.ClientSession, boss: str, origin: str) -> None:
    url = await serve()
    headers = {**await session(http, url, boss), "Origin": origin}
    for method, path in (("GET", "/admin"), ("GET", "/admin/keys"), ("GET", "/admin/assets/admin.js"),
                         ("DELETE", "/admin/keys/boss"), ("POST", "/admin/keys"), ("POST", "/admin/keys/boss/rotate")):
        assert await status(http, url + path, headers, method) == 401
    for path, sent in (("/admin/session", {"key": boss}), ("/admin/session/end", {})):
        async with http.post(url + path, data=sent, headers=headers, allow_redirects=False) as response:
            assert (response.status, list(response.cookies)) == (401, [])
    assert await status(http, f"{url}/admin/keys", {**headers, "Origin": url}) == 200
    assert await status(http, f"{url}/admin/keys", {**shown(boss), "Origin": origin}) == 200


@pytest.mark.parametrize(("host", "proto", "origin", "status"), [
    ("host.example", "https", "https://host.example", 303), ("host.example", "https", "http://host.example", 401),
    ("host.example", "http", "https://host.example", 401), ("host.example", "https", "https://host.example:8443", 401),
    ("host.example:8443", "https", "https://host.example:8443", 303),
    ("host.example:8443", "https", "https://host.example", 401),
    ("host.example:443", "https", "https://host.example", 303),
    ("host.example:80", "https", "https://host.example", 401), ("host.example:80", "http", "http://host.example", 303),
    ("host.example", "https", "https://a.host.example", 401), ("host.example", "https", "null", 401),
    ("HOST.example", "https", "https://host.example", 303), ("[::1]:8000", "http", "http://[::1]:8000", 303)])
async def test_a_page_of_another_scheme_host_or_port_than_the_server_is_reached_at_is_from_elsewhere(
        serve: Serve, http: aiohttp.ClientSession, boss: str, host: str, proto: str, origin: str, status: int) -> None:
    headers = {"Host": host, "X-Forwarded-Proto": proto, "Origin": origin}
    asked = http.post(f"{await serve()}/admin/session", data={"key": boss}, headers=headers, allow_redirects=False)
    async with asked as response:
        assert response.status == status
        assert status == 303 or "X-Forwarded-Proto" in await response.text()  # what to do where it is no page's fault


@pytest.mark.parametrize(("content_type", "sent"), [
    (FORM, b""), (FORM, b"key="), (FORM, b"key=%FF%00"), (FORM, b"key=\xff"), (f"{FORM}; charset=nonsense", b"key=x"),
    (FORM, 100_000 * b"&"), ("multipart/form-data", b"key=x"), ("multipart/form-data; boundary=a", b"key=x"),
    ("multipart/form-data; boundary=a", b'--a\r\nContent-Transfer-Encoding: x\r\n\r\nabc\r\n--a--\r\n'),
    ("application/json", b'{"key": "x"}'), ("text/plain", b"key=x")])
async def test_a_form_that_holds_no_key_gets_the_login_again_whatever_it_is(
        serve: Serve, http: aiohttp.ClientSession, boss: str, content_type: str, sent: bytes) -> None:
    headers = {"Content-Type": content_type}
    async with http.post(f"{await serve()}/admin/session", data=sent, headers=headers) as response:
        assert (response.status, response.content_type, list(response.cookies)) == (401, "text/html", [])
        assert 'role="alert"' in await response.text()


@pytest.mark.parametrize("sent", [b"key=" + 8192 * b"%41", b"", b"key=aio_"], ids=["long", "nothing", "a part"])
async def test_nobody_is_waited_for_who_sends_a_longer_form_than_there_is_or_none_in_time(
        stack: AsyncExitStack, boss: str, sent: bytes) -> None:
    app = create_app(Settings(simulate=True, simulate_pace=0.0, shutdown_timeout=0.2))
    url = urlsplit(await start(with_services(app, introduction=30.0 if len(sent) > 4096 else 0.1), stack))
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(f"POST /admin/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n"
                 "Content-Length: 1000000\r\n\r\n".encode() + sent)
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readline()).split()[1] == b"401"
    writer.close()


async def test_who_looks_where_the_form_was_sent_to_is_shown_to_the_page_or_asked_for_a_key(
        serve: Serve, http: aiohttp.ClientSession, boss: str) -> None:
    caller, root = make_key("web"), await serve()
    url = f"{root}/admin/session"
    async with http.get(url, headers=await session(http, root, boss), allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/admin")
    for headers, expected in (({}, 401), (kept("aio_old"), 401), (shown(caller), 403)):
        async with http.get(url, headers=headers) as response:
            assert (response.status, response.content_type) == (expected, "text/html")


async def test_signing_out_takes_the_cookie_back(serve: Serve, http: aiohttp.ClientSession, boss: str) -> None:
    url = await serve()
    for headers, expected in ((await session(http, url, boss), 303), (kept("aio_old"), 401)):
        async with http.post(f"{url}/admin/session/end", headers=headers, allow_redirects=False) as response:
            morsel = response.cookies["aioapp_admin"]
        assert (response.status, morsel.value, morsel["max-age"], morsel["path"]) == (expected, "", "0", "/admin")


async def test_signing_out_that_fails_is_told_and_can_be_tried_again(
        serve: Serve, http: aiohttp.ClientSession, boss: str) -> None:
    url = await serve()
    headers = await session(http, url, boss)
    with closing(sqlite3.connect(database(), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with http.post(f"{url}/admin/session/end", headers=headers, allow_redirects=False) as response:
            assert (response.status, list(response.cookies)) == (503, [])
            assert "Try again in a moment." in await response.text()
        other.execute("ROLLBACK")
    assert await status(http, f"{url}/admin", headers) == 200
    assert await status(http, f"{url}/admin/session/end", headers, "POST") == 303
    assert await status(http, f"{url}/admin", headers) == 401


async def test_a_session_is_known_to_all_workers_at_once_and_so_is_its_end(
        serve: Serve, http: aiohttp.ClientSession, boss: str) -> None:
    """Each of the two has its own keys in memory, and its own connection to the one database."""
    one, other = await serve(), await serve()
    headers, more = await session(http, one, boss), await session(http, other, boss)
    assert [await status(http, f"{url}/admin/keys", headers) for url in (other, one)] == [200, 200]
    assert await status(http, f"{other}/admin/session/end", headers, "POST") == 303
    assert [await refusal(http, url, headers) for url in (one, other)] == 2 * ["Your session is over. Sign in again."]
    assert [await status(http, f"{url}/admin/keys", headers) for url in (one, other)] == [401, 401]
    assert [await status(http, f"{url}/admin/keys", more) for url in (one, other)] == [200, 200]


async def test_a_key_in_the_cookie_signs_nobody_in(serve: Serve, http: aiohttp.ClientSession, boss: str) -> None:
    url = await serve()
    for held in (boss, "a" * 43, ""):
        assert await refusal(http, url, kept(held)) == "Your session is over. Sign in again."
    assert await status(http, f"{url}/admin/keys", kept(boss)) == 401


async def test_a_session_ends_with_its_key_its_secret_and_its_time(serve: Serve, http: aiohttp.ClientSession) -> None:
    keys = {name: make_key(name, admin=True) for name in ("revoked", "rotated", "late")}
    url = await serve()
    headers = {name: await session(http, url, key) for name, key in keys.items()}
    rotated = http.post(f"{url}/admin/keys/rotated/rotate", json={"grace_seconds": 0}, headers=headers["late"])
    async with rotated as answer, http.delete(f"{url}/admin/keys/revoked", headers=headers["late"]) as response:
        assert answer.status == response.status == 200
    with closing(sqlite3.connect(database())) as connection, connection:
        assert connection.execute(
            "UPDATE sessions SET expires_at = ? WHERE secret = ?", (stamp(datetime.now(UTC)), keys["late"][4:20])
        ).rowcount == 1
    assert {name: await refusal(http, url, held) for name, held in headers.items()} == {
        "revoked": "This key was revoked.", "rotated": "This secret was replaced by a new one.",
        "late": "Your session is over. Sign in again."}


async def test_a_session_of_a_secret_that_was_replaced_sees_all_and_changes_nothing(
        serve: Serve, http: aiohttp.ClientSession, boss: str) -> None:
    url = await serve()
    old = await session(http, url, boss)
    async with http.post(f"{url}/admin/keys/boss/rotate", json={"grace_seconds": 600}, headers=old) as response:
        new = await session(http, url, (await response.json())["secret"])
    for headers, expected in ((old, 403), (new, 201)):
        assert await status(http, f"{url}/admin/keys", headers) == 200
        async with http.post(f"{url}/admin/keys", json={"name": "more"}, headers=headers) as response:
            assert response.status == expected, await response.text()


async def test_no_answer_to_an_administrator_is_kept_by_a_cache(
        serve: Serve, http: aiohttp.ClientSession, boss: str) -> None:
    url = await serve()
    headers = await session(http, url, boss)
    for path in ("", "/session", "/keys", "/keys/boss", "/audit", "/usage?by=key", "/requests"):
        async with http.get(f"{url}/admin{path}", headers=headers, allow_redirects=False) as response:
            assert response.status in (200, 303)
            assert response.headers["Cache-Control"] == "no-store", path
    async with http.post(f"{url}/admin/session/end", headers=headers, allow_redirects=False) as response:
        assert response.headers["Cache-Control"] == "no-store"
