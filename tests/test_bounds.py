"""The guide's table of bounds says what the code holds."""
import re
from dataclasses import fields

from aioapp.app import LARGEST_BODY
from aioapp.endpoints.admin.page import LARGEST_FORM
from aioapp.endpoints.chat import MOST_TURNS
from aioapp.keys.key import SESSION_LIFETIME, MOST_PATTERNS
from aioapp.keys.keyring import OLDEST
from aioapp.settings import Settings
from aioapp.store.embedded import sessions
from aioapp.upstream.stream import LARGEST_ANSWER
from aioapp.web import answers, fields as web_fields, schemas, validation
from aioapp.web.operations import socket_session
from aioapp.web import bounds
from aioapp.web.server import masking
from tests.processes import ROOT

GUIDE = ROOT / "aioapp" / "pages" / "guide"
TEXT = (GUIDE / "reference.md").read_text().partition("\n## Bounds\n")[2].partition("\n## ")[0]
ROWS = {cells[0].strip(): cells[1].strip() for line in TEXT.splitlines()
        if len(cells := line.strip("|").split("|")) == 3}


def numbers(row: str) -> list[float]:
    """The numbers in a row's bound, in the order in which they stand there."""
    return [float(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", ROWS[row])]


def test_numbers_of_the_table_are_the_codes_own() -> None:
    default = {field.name: field.default for field in fields(Settings)}
    assert numbers("connections to a process") == [default["max_connections"]]
    assert bounds.SHARE == 4 and bounds.TOLD == 128
    for row, setting in (
            ("time to a new connection's first byte", "first_byte_timeout"),
            ("time from there to the end of the headers", "head_timeout"),
            ("time from there to the end of the body", "body_timeout"),
            ("time between two requests on a connection", "keep_alive_timeout"),
            ("time without taking 16 KiB of what waits for the caller", "stall_timeout"),
            ("time that a worker may hang, where there are several", "worker_timeout")):
        assert numbers(row) == [default[setting]]
    assert bounds.LEAST_TAKEN == 16 * 2**10
    assert numbers("a header, or the request's first line") == [bounds.LARGEST_LINE, bounds.LARGEST_HEAD / 2**10]
    assert numbers("values in it") == [validation.MOST_VALUES]
    assert numbers("problems that are told") == [web_fields.MOST_PROBLEMS]
    assert numbers("turns of `history`; `stop_sequences`; a key's `models`") == [
        MOST_TURNS, schemas.MOST_STOPS, schemas.LONGEST_STOP, MOST_PATTERNS]
    assert numbers("`prompt` and `message`; `system` and a turn's `content`") == [10_000, schemas.MOST_TEXT]
    assert numbers("frame of a WebSocket on which no key was shown")[0] == bounds.LARGEST_INTRODUCTION
    assert numbers("frames that come together on a WebSocket") == [masking.MOST_FRAMES, masking.MOST_CONTROLS]
    assert numbers("a body or a WebSocket's frame") == [LARGEST_BODY / 2**20, bounds.LARGEST_BODY / 2**20]
    assert numbers("generations on one socket at once") == [socket_session.MOST_AT_ONCE]
    assert numbers("form to sign in")[0] == LARGEST_FORM
    assert numbers("sessions of one admin key") == [sessions.MOST, SESSION_LIFETIME.total_seconds() / 3600]
    assert numbers("an answer that is an error")[1] == answers.LONGEST_DETAIL
    assert numbers("silence of Claude in a stream; a generation") == [default["idle_timeout"], default["total_timeout"]]
    assert numbers("an answer of Claude's")[0] == LARGEST_ANSWER / 2**20
    assert numbers("time without knowing the keys, because the database does not answer") == [OLDEST]
