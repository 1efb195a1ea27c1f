"""What the server tells whoever runs it, in both forms, and what it keeps to itself."""
import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import aiohttp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioapp.callers import Caller
from aioapp.generation import Admission, Generation
from aioapp.messages.summary import Summary
from aioapp.messages.prompt import TextPrompt, Turn
from aioapp.messages.events import Usage
from aioapp.telemetry.logs import OneLine, OneObject, AccessRecord, log_request, requests, server_logger
from tests.generations import Counted
from tests.processes import KEY, ROOT, Server, children_of, serving, started, until, upstream_at
from tests.test_shutdown import ASK, generate, held, stream
from tests.upstreams import Connection, upstream, whole

QUIET = [["--no-access-log"], ["--log-level", "warning"]]
PID = os.getpid()
PROMPT = "prompt-canary"
SECRET = "header-canary"
REQUEST = r"INFO aioapp\.requests: 127\.0\.0\.1 - "


async def lines(server: Server, pattern: str) -> None:
    await server.says(rf"(?m)^\S+ \S+ {pattern}$")


async def test_each_request_has_one_line_that_says_what_claude_took(http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as claude, serving(env=upstream_at(claude.url)) as server:
        assert (await generate(http, server))[0] == 200
        await lines(server, REQUEST + r"POST /api/generate 200 [\d.]+ ms \w{32} claude-sonnet-5-5 completed end_turn "
                                      r"in 12 out 5 tokens \$0\.000\d{3} first [\d.]+ s")
    assert server.err.count("aioapp.requests") == 1


async def test_a_request_that_asks_claude_nothing_has_a_short_line(http: aiohttp.ClientSession) -> None:
    async with serving("--simulate") as server, http.get(f"{server.url}/openapi.json?secret={SECRET}"):
        await lines(server, REQUEST + r"GET /openapi.json 200 [\d.]+ ms \w{32}")


@pytest.mark.parametrize(("flags", "variables", "level"), [
    ([], {}, None), (["--log-probes"], {}, "INFO"), ([], {"API_LOG_PROBES": "yes"}, "INFO"),
    (["--no-log-probes"], {"API_LOG_PROBES": "yes"}, None), (["--log-level", "debug"], {}, "DEBUG"),
    (["--log-probes", "--no-access-log"], {}, None),
])
async def test_probes_of_health_are_logged_at_debug_unless_that_is_asked_for(
        http: aiohttp.ClientSession, flags: list[str], variables: dict[str, str], level: str | None) -> None:
    """A balancer asks every second, and that somebody asked is hardly ever of interest."""
    async with serving("--simulate", *flags, env=variables) as server:
        for path in ("/health", "/health/ready", "/health/live", "/health/nonesuch"):
            async with http.get(server.url + path) as response:
                assert response.status == (404 if path == "/health/nonesuch" else 200)
        assert await server.end() == 0
    told = re.findall(r"(\w+) aioapp\.requests: \S+ - GET (\S+)", server.err)
    probes = [] if level is None else [(level, path) for path in ("/health", "/health/ready", "/health/live")]
    assert told == [*probes, *([] if "--no-access-log" in flags else [("INFO", "/health/nonesuch")])]


async def test_a_stream_has_its_line_when_it_ends(http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as claude, serving(env=upstream_at(claude.url)) as server:
        async with http.post(f"{server.url}/api/stream", json=ASK) as response:
            await response.read()
        await lines(server, REQUEST + r"POST /api/stream 200 [\d.]+ ms \w{32} claude-sonnet-5-5 completed .*")


async def test_a_caller_who_left_has_a_line_that_says_so(http: aiohttp.ClientSession) -> None:
    async with held() as (server, _, _):
        async with stream(http, server) as response:
            response.close()
        await lines(server, REQUEST + r"POST /api/stream left [\d.]+ ms \w{32} claude-sonnet-5-5 cancelled - .*")


async def test_a_failed_generation_says_why(http: aiohttp.ClientSession) -> None:
    async def refuse(connection: Connection) -> None:
        await connection.answer(429, b"{}", Retry_After="60")

    async with upstream(refuse) as claude, serving(env=upstream_at(claude.url)) as server:
        assert (await generate(http, server))[0] == 429
        await lines(server, REQUEST + r"POST /api/generate 429 [\d.]+ ms \w{32} claude-sonnet-5-5 failed "
                                      r"\(Claude's rate limit is reached\) - in 0 out 0 tokens \$0\.000000 first never")


async def test_as_json_every_line_is_an_object(http: aiohttp.ClientSession) -> None:
    async with upstream(whole) as claude, serving("--log-format", "json", env=upstream_at(claude.url)) as server:
        assert (await generate(http, server))[0] == 200
        await server.says("aioapp.requests")
        assert await server.end() == 0
    told = [json.loads(line) for line in server.err.splitlines()]
    [line] = [line for line in told if line["logger"] == "aioapp.requests"]
    assert (line["path"], line["status"], line["output_tokens"], line["key"]) == ("/api/generate", 200, 5, None)
    assert 0 < line["first_ms"] <= line["generation_ms"] <= line["duration_ms"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_as_json_all_processes_say_all_they_say_on_one_stream_with_their_pids(
        http: aiohttp.ClientSession, workers: int) -> None:
    flags = ("--simulate", "--simulate-pace", "0", "--log-format", "json", "--workers", f"{workers}")
    async with serving(*flags) as server:
        await until(lambda: len(children_of(server.pid)) == (workers if workers > 1 else 0))
        pids = children_of(server.pid)
        assert (await generate(http, server))[0] == 200
        await rubbish(server)
        assert await server.end() == 0
    told = [json.loads(line) for line in server.err.splitlines()]
    assert server.out == ""
    assert {line["pid"] for line in told} == {server.pid, *pids}
    assert {line["pid"] for line in told if "serves http" in line["message"]} == {server.pid}
    assert {line["pid"] for line in told if line["logger"] == "aioapp.requests"} <= (pids or {server.pid})


@pytest.mark.parametrize(("flags", "variables"), [
    (["--prot"], {"API_LOG_FORMAT": "json"}), (["--log-format", "json", "--port"], {"API_LOG_FORMAT": "json"}),
    (["--log-format", "json", "--fd", "99"], {}), (["--log-format", "json"], {"API_WORKERS": "x"})])
async def test_a_bad_setting_is_json_too(flags: list[str], variables: dict[str, str]) -> None:
    async with started(*flags, env=variables) as server:
        assert await server.ended() == 2
    [line] = map(json.loads, server.err.splitlines())
    assert (line["level"], line["pid"], server.out) == ("CRITICAL", server.pid, "")


@pytest.mark.parametrize("flags", QUIET)
async def test_what_is_switched_off_is_not_logged(http: aiohttp.ClientSession, flags: list[str]) -> None:
    async with serving("--simulate", *flags, env={"API_SIMULATE_PACE": "0"}) as server:
        assert (await generate(http, server))[0] == 200
        await rubbish(server)
        assert await server.end() == 0
    assert "generate" not in server.err and "POST" not in server.err
    assert flags == QUIET[0] or " INFO " not in server.err


async def rubbish(server: Server) -> None:
    for data in RUBBISH:
        await talked(server, data)


RUBBISH = [
    b"\x16\x03\x01\x02\x00" + SECRET.encode() + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + SECRET.encode() + b"\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + SECRET.encode() + b"\r\n\r\n",
    b"GET /" + SECRET.encode() + b"\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + SECRET.encode() * 2000 + b"\r\n\r\n",
    b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + SECRET.encode() + b"\r\n\r\n",
    b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + SECRET.encode() + b"\r\n\r\n",
    b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 13\r\n\r\n" + SECRET.encode(),
    b"GET /ws/generate HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + SECRET.encode() + b"\r\n\r\n",
]


async def talked(server: Server, data: bytes) -> bytes:
    """What is answered to `data`."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    async with asyncio.timeout(5):
        answer = await reader.readline()
    writer.close()
    return answer


@pytest.mark.parametrize("data", RUBBISH, ids=range(len(RUBBISH)))
async def test_rubbish_is_refused_and_leaves_neither_traceback_nor_secret(data: bytes, noisy: Server) -> None:
    before = len(noisy.err)
    answer = await talked(noisy, data)
    assert answer.startswith(b"HTTP/1.") and answer.split()[1] in (b"400", b"415", b"431")
    async with aiohttp.ClientSession() as http, http.get(f"{noisy.url}/after") as response:
        assert response.status == 404
    await until(lambda: "/after" in noisy.err[before:])
    assert "Traceback" not in noisy.err and SECRET not in noisy.err
    assert not {"WARNING", "ERROR"} & {*noisy.err[before:].split()}


@pytest.fixture
async def noisy() -> AsyncIterator[Server]:
    async with serving("--simulate", "--log-level", "debug") as server:
        yield server


@pytest.mark.parametrize("form", ["text", "json"])
async def test_neither_key_nor_prompt_nor_answer_is_logged_even_on_debug(
        http: aiohttp.ClientSession, form: str) -> None:
    async def echo(connection: Connection) -> None:
        """An upstream that says everything back where it hurts most."""
        said = json.dumps({"error": {"type": KEY, "message": f"{KEY} {PROMPT}"}})
        await connection.answer(400, said.encode(), X_Echo=KEY)

    async def nonsense(connection: Connection) -> None:
        await connection.send(f"{KEY} {PROMPT}\r\n\r\n".encode())

    async with (upstream(echo, nonsense, nonsense, nonsense, whole) as claude,
                serving("--log-level", "debug", "--log-format", form, "--debug",
                        env=upstream_at(claude.url)) as server):
        for status in (400, 502, 200):
            async with http.post(f"{server.url}/api/generate?key={KEY}", json={"prompt": PROMPT},
                                 headers={"Authorization": f"Bearer {KEY}"}) as response:
                assert response.status == status
        assert await server.end() == 0
    assert server.err.count("POST /api/generate") == 3
    assert not [said for said in (KEY, PROMPT, "wörld", "Traceback") if said in server.err + server.out]


# The forms themselves.

RECORD = Generation(
    prompt=TextPrompt(messages=(Turn("user", PROMPT),), max_tokens=40, model="asked"),
    admission=Admission(caller=Caller(name="web", known=True, secret=SECRET), request_id="r"), outcome="completed",
    answer=Counted("claude-sonnet-5-5", Usage(
        input_tokens=12, output_tokens=34, cache_creation_input_tokens=5, cache_read_input_tokens=6)),
    nanodollars=364_000, first=0.0112, duration=0.0105)
FAILED = replace(RECORD, outcome="failed", error="Bad request", answer=Summary(), nanodollars=0, first=None)
SEEN = AccessRecord(remote="127.0.0.1", key="web", method="POST", path="/api/generate", status=200, seconds=0.01234,
                    request_id="5f2c", generation=RECORD)
FORMS = [OneLine(), OneObject()]


def logged(message: object, *args: object, error: BaseException | None = None, stack: str | None = None,
           ) -> logging.LogRecord:
    entry = logging.LogRecord("aioapp.requests", logging.INFO, "x.py", 1, message, args,
                              (type(error), error, error.__traceback__) if error else None, sinfo=stack)
    entry.created = datetime(2026, 11, 2, 12, 0, 0, 250_000, tzinfo=UTC).timestamp()
    return entry


def text(seen: AccessRecord) -> str:
    return OneLine().format(logged(seen)).partition("aioapp.requests: ")[2]


def told(entry: logging.LogRecord) -> dict[str, Any]:
    line = OneObject().format(entry)
    assert line.isascii() and line.isprintable()
    return cast(dict[str, Any], json.loads(line))


def test_the_text_of_a_request() -> None:
    assert text(SEEN) == ("127.0.0.1 web POST /api/generate 200 12.3 ms 5f2c "
                          "claude-sonnet-5-5 completed end_turn in 23 out 34 tokens $0.000364 first 0.011 s")
    assert text(replace(SEEN, generation=None, key=None, status=None, remote="")) == (
        "- - POST /api/generate left 12.3 ms 5f2c")
    assert text(replace(SEEN, status=400, generation=FAILED)) == (
        "127.0.0.1 web POST /api/generate 400 12.3 ms 5f2c "
        "asked failed (Bad request) - in 0 out 0 tokens $0.000000 first never")


def test_the_json_of_a_request() -> None:
    request = {"time": "2026-11-02T12:00:00.250+00:00", "level": "INFO", "pid": PID, "logger": "aioapp.requests",
               "message": "POST /api/generate 200", "remote": "127.0.0.1", "key": "web", "method": "POST",
               "path": "/api/generate", "status": 200, "duration_ms": 12.34, "request_id": "5f2c"}
    assert told(logged(SEEN)) == {
        **request, "model": "claude-sonnet-5-5", "outcome": "completed", "error": None, "stop_reason": "end_turn",
        "input_tokens": 12, "output_tokens": 34, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 6,
        "cost_usd": 0.000364, "first_ms": 11.2, "generation_ms": 10.5}
    assert told(logged(replace(SEEN, generation=None, key=None, status=None))) == {
        **request, "key": None, "status": None, "message": "POST /api/generate left"}
    failed = told(logged(replace(SEEN, generation=FAILED)))
    assert (failed["model"], failed["error"], failed["first_ms"]) == ("asked", "Bad request", None)


def test_the_json_of_anything_else() -> None:
    entry = logged("%d things\nwent wrong", 3)
    assert told(entry) == {"time": "2026-11-02T12:00:00.250+00:00", "level": "INFO", "pid": PID,
                           "logger": "aioapp.requests", "message": "3 things\nwent wrong"}
    assert datetime.fromisoformat(told(entry)["time"]).utcoffset() == timedelta(0)


def test_a_caller_cannot_write_lines_of_its_own() -> None:
    prompt, _ = FAILED.prompt.fitted("x\n2026 INFO forged\x1b[2J\x9b\u202e")
    nasty = replace(SEEN, generation=replace(FAILED, prompt=prompt))
    assert text(nasty) == (
        r"127.0.0.1 web POST /api/generate 200 12.3 ms 5f2c x\n2026 INFO forged\x1b[2J\x9b\u202e "
        "failed (Bad request) - in 0 out 0 tokens $0.000000 first never")
    assert told(logged(nasty))["model"] == "x\n2026 INFO forged\x1b[2J\x9b\u202e"


def saying(name: str) -> Summary:
    answer = Counted(name, Usage())
    answer.stop_reason = name
    return answer


@given(st.text(st.characters()), st.sampled_from(FORMS))
@example("\x00\n\r\x1b\x7f\x85\x9b\u2028\u202e\udcff", FORMS[0])
@example("\x00\n\r\x1b\x7f\x85\x9b\u2028\u202e\udcff", FORMS[1])
def test_whatever_is_named_a_request_stays_one_line_that_can_be_printed(name: str, form: logging.Formatter) -> None:
    seen = replace(SEEN, path=name, method=name, key=name, generation=replace(RECORD, answer=saying(name)))
    for entry in (logged(seen), logged(name), logged("%s", name)):
        assert form.format(entry).isprintable()


def test_no_prompt_is_part_of_either_form() -> None:
    assert not [secret for secret in (PROMPT, SECRET) for form in FORMS if secret in form.format(logged(SEEN))]


def failure() -> Exception:
    try:
        raise LookupError("x\n2026-11-02 12:00:00,250 INFO forged\r\x1b[2J\x85\u2028y")
    except LookupError as error:
        return error


def test_a_traceback_is_indented_so_that_it_forges_no_line() -> None:
    first, *rest = OneLine().format(logged("broken", error=failure(), stack="Stack\n  here")).split("\n")
    assert first.endswith("INFO aioapp.requests: broken")
    assert rest[0] == "    Traceback (most recent call last):" and rest[-2:] == ["    Stack", "      here"]
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert any("INFO forged" in line for line in rest)


def test_a_traceback_is_one_string_in_json() -> None:
    error = failure()
    assert told(logged("broken", error=error))["traceback"] == "".join(traceback.format_exception(error))
    assert told(logged("broken", stack="Stack\n  here"))["traceback"] == "Stack\n  here"


PROGRAM = """
import logging, threading, warnings
from aioapp.telemetry import logs
from aioapp.settings import Settings
logs.configure(Settings(log_format="json", access_log={access_log}))
logging.getLogger("library").warning("%s is old\\nvery", "it")
logging.getLogger("library").debug("quotes what it sends")
warnings.warn("do not")
logs.log_request(logs.AccessRecord(
    remote="", key=None, method="GET", path="/", status=200, seconds=0.0, request_id="r", generation=None))
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("library").exception("broken")
threading.Thread(target=lambda: 1 / 0).start()
class Broken:
    def __del__(self):
        1 / 0
Broken()
1 / 0
"""


@pytest.mark.parametrize("access_log", [True, False])
def test_what_libraries_and_python_warn_of_is_json_too(access_log: bool) -> None:
    ended = subprocess.run([sys.executable, "-W", "default", "-c", PROGRAM.format(access_log=access_log)], cwd=ROOT,
                           capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert [json.loads(line)["message"] for line in ended.stderr.splitlines() if "aioapp.uncaught" in line] == [
        "Nobody caught this in a thread.", "Nobody could catch this.", "Nobody caught this."]
    seen = {line["logger"]: line for line in map(json.loads, ended.stderr.splitlines())}
    assert set(seen) == {"library", "py.warnings", "aioapp.uncaught", *(["aioapp.requests"] if access_log else [])}
    assert seen["library"]["traceback"].endswith("ZeroDivisionError: division by zero\n")
    assert "UserWarning: do not" in seen["py.warnings"]["message"]
    assert len(ended.stderr.splitlines()) == 6 + access_log


class Untouchable:
    """What nobody may make text of."""

    def __str__(self) -> str:
        raise AssertionError("built")


def test_nothing_is_built_of_a_line_that_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    seen = replace(SEEN, generation=replace(RECORD, answer=saying(cast(str, Untouchable()))))
    with caplog.at_level(logging.WARNING, requests.name):
        log_request(seen)
    with caplog.at_level(logging.INFO, requests.name), pytest.raises(AssertionError, match="built"):
        log_request(seen)


def test_a_fault_of_ours_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ZeroDivisionError("ours")
    except ZeroDivisionError as error:
        server_logger().exception("Unhandled exception", exc_info=error)
    assert "Traceback" in caplog.text and "ZeroDivisionError: ours" in caplog.text
