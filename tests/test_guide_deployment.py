"""What the guide says of running the server is true: nginx, gunicorn, systemd, containers, the simulator alone."""
import asyncio
import base64
import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from configparser import RawConfigParser
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aioapp.settings import from_command_line
from aioapp.webhooks.signature import headers_of
from tests.browser import find_chromium, open_browser
from tests.conftest import Serve, start
from tests.documents import ADDRESS, PATIENCE, README, blocks, environment, needed, output_of, running
from tests.keyed import database, make_key
from tests.test_admin_page import arrive, sign_in
from tests.test_docs import chromium
from tests.upstreams import BLOCK, END, START, Connection, delta, upstream


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    openssl = needed(shutil.which("openssl"), "openssl")
    signed, key = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", signed],
        check=True, capture_output=True)
    return signed, key


def nginx_conf(folder: Path, url: str, port: int, certificate: tuple[Path, Path]) -> Path:
    """The README's file in the rest of a configuration, all of it in `folder`."""
    [block] = blocks("nginx")
    signed, key = map(str, certificate)
    site = block.at(url)
    for said, ours in (("/etc/nginx/tls/fullchain.pem", signed), ("/etc/nginx/tls/privkey.pem", key),
                       ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")):
        assert said in site
        site = site.replace(said, ours)
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/errors;\n"
                    f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n")
    return conf


@asynccontextmanager
async def behind_nginx(folder: Path, url: str, certificate: tuple[Path, Path]) -> AsyncIterator[str]:
    """nginx in front of the server, on a socket that is ours, so that callers wait in its queue until it is there."""
    nginx = needed(shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"), "nginx")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        conf = nginx_conf(folder, url, port, certificate)
        inherited, keep = f"{listening.fileno()};", (listening.fileno(),)
        said = await output_of(nginx, "-t", "-q", "-e", folder / "errors", "-c", conf, keep=keep, NGINX=inherited)
        assert said in ("", f"nginx: using inherited sockets from \"{inherited}\"\n")
        process = await asyncio.create_subprocess_exec(
            nginx, "-e", folder / "errors", "-c", conf, pass_fds=keep, env=environment(NGINX=inherited))
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def test_nginx_passes_on_streams_as_they_come_sockets_and_where_the_caller_is(
        serve: Serve, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    seen = asyncio.Event()

    async def waits(connection: Connection) -> None:
        """Send the rest only once the caller has seen the first piece."""
        await connection.begin()
        await connection.chunk(START + BLOCK + delta("first"))
        await seen.wait()
        await connection.chunk(delta("last") + END)
        await connection.finish()

    async with AsyncExitStack() as stack:
        claude = await stack.enter_async_context(upstream(waits))
        key = make_key()
        url = await stack.enter_async_context(behind_nginx(tmp_path, await serve(claude.url), certificate))
        http = await stack.enter_async_context(aiohttp.ClientSession(
            headers={"X-API-Key": key},
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=certificate[0])),
            timeout=aiohttp.ClientTimeout(total=PATIENCE)))
        async with http.post(f"{url}/api/stream", json={"prompt": "Hi"}) as response:
            assert await response.content.readuntil(b"\n\n") == b"data: first\n\n"
            seen.set()
            assert await response.read() == b"data: last\n\ndata: [DONE]\n\n"
        async with http.ws_connect(f"{url}/ws/generate") as talk:
            await talk.send_json({"prompt": "Hi", "stream": True})
            assert [(await talk.receive_json())["type"] for _ in range(4)] == ["start", "delta", "delta", "done"]
        async with http.get(url) as response:
            places = (await response.json())["endpoints"]
        async with http.post(f"{url}/api/generate", data=BytesIO(b" " * 1_200_000),
                             headers={"Content-Type": "application/json"}) as response:
            assert (response.status, (await response.json())["success"]) == (413, False)
        async with http.get(f"{url}/metrics") as response:
            assert response.status == 403  # nginx is on this machine, its callers are not
    assert places["generate"] == f"{url}/api/generate"
    assert places["websocket"] == f"{url}/ws/generate".replace("https", "wss")


async def test_an_administrator_signs_in_and_out_in_a_browser_behind_nginx(
        serve: Serve, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    boss, plain = make_key("boss", admin=True), await serve()
    async with (behind_nginx(tmp_path, plain, certificate) as url,
                open_browser(chromium(find_chromium(), os.environ), tmp_path / "profile") as browser):
        page = await browser.open_page(f"{plain}/health/live")
        await page.call("Security.setIgnoreCertificateErrors", ignore=True)
        await page.visit(f"{url}/admin")
        await sign_in(page, boss)
        await page.wait_for("document.querySelector('#keys tr[data-key=boss]')")
        [cookie] = (await page.call("Network.getCookies"))["cookies"]
        assert [cookie[name] for name in ("name", "path", "httpOnly", "secure", "sameSite")] == [
            "aioapp_admin", "/admin", True, True, "Strict"]
        await page.click("#new-key")
        await page.type("[name=name]", "web")
        await page.click("#create-yes")
        await page.wait_for("document.querySelector('#secret').textContent")
        await page.click("#secret-close")
        await page.click("#sign-out")
        await arrive(page, "document.querySelector('#key') !== null")
        assert (await page.call("Network.getCookies"))["cookies"] == []
    with closing(sqlite3.connect(database())) as connection:
        assert connection.execute("SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM sessions)").fetchall() == [
            (2, 0)]


async def test_the_gunicorn_line_serves(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    [line] = re.findall(r"^\.venv/bin/gunicorn (.*)$", README, re.MULTILINE)
    arguments = shlex.split(line.replace(ADDRESS, "127.0.0.1:0"))
    async with running(sys.executable, "-m", "gunicorn", *arguments, "--no-control-socket",
                       API_SIMULATE="1", API_SIMULATE_PACE="0") as url:
        async with http.post(f"{url}/api/generate", json={"prompt": "Count to 3"}) as response:
            assert (response.status, (await response.json())["response"]) == (200, "1, 2, 3")


async def test_the_unit_starts_what_exists_and_lets_the_server_stop_its_own_workers() -> None:
    [block] = blocks("ini", where=lambda block: "[Unit]" in block.code)
    unit = RawConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # it is meant to be replaced; systemd tells case
    unit.read_string(block.code)
    service = unit["Service"]
    settings = from_command_line(shlex.split(service["ExecStart"])[3:], {})
    assert settings.workers > 1 and service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > settings.shutdown_timeout + 10


def test_the_file_of_settings_is_one_that_the_server_takes(tmp_path: Path) -> None:
    [block] = blocks("ini", where=lambda block: "[aioapp]" in block.code)
    (tmp_path / "settings.ini").write_text(block.code)
    settings = from_command_line(["--config", str(tmp_path / "settings.ini")], {})
    assert (settings.workers, len(settings.cors_origins), len(settings.trusted_proxies)) == (4, 2, 2)


async def test_the_receiver_of_alerts_takes_what_is_signed_and_nothing_else(
        stack: AsyncExitStack, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = blocks("python", where=lambda block: "webhook-signature" in block.code)
    secret = bytes(range(32))
    monkeypatch.setenv("API_ALERT_WEBHOOK_SECRET", "whsec_" + base64.b64encode(secret).decode())
    program: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(block.code, "receiver.py", "exec"), program)
    app = web.Application()
    app.router.add_post("/", program["alert"])
    url = await start(app, stack)
    for tampered, expected in ((b"", 204), (b" ", 401)):
        body = b'{"type":"database.found"}'
        headers = headers_of(body, id="msg_1", at=time.time(), secret=secret)
        async with http.post(url, data=body + tampered, headers=headers) as response:
            assert response.status == expected


async def test_the_health_check_of_the_container_file_passes(serve: Serve) -> None:
    [block] = blocks("dockerfile")
    [words] = re.findall(r"^HEALTHCHECK CMD (\[.*\])$", block.at(await serve()), re.MULTILINE)
    program, *arguments = json.loads(words)
    assert program == "python"
    await output_of(sys.executable, *arguments)


async def test_the_simulator_runs_alone_and_the_server_runs_on_it(http: aiohttp.ClientSession) -> None:
    [port] = re.findall(r"-m aioapp\.simulator --port (\d+)$", README, re.MULTILINE)
    [variables] = re.findall(rf"^(ANTHROPIC_BASE_URL=http://127\.0\.0\.1:{port} .*) \.venv/", README, re.MULTILINE)
    async with running(sys.executable, "-m", "aioapp.simulator", "--port", "0", "--pace", "0") as claude:
        given = dict(word.split("=", 1) for word in variables.replace(f"http://127.0.0.1:{port}", claude).split())
        async with running(sys.executable, "-m", "aioapp", "--port", "0", "--no-access-log", **given) as url:
            async with http.post(f"{url}/api/generate", json={"prompt": "Count to 3"}) as response:
                assert (await response.json())["response"] == "1, 2, 3"
