"""Twenty thousand random bodies and five thousand random frames: no fault of ours, no large error, nothing for long."""
import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Self, TypeVar
from urllib.parse import urlsplit

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from aioapp.endpoints import OPERATIONS
from aioapp.endpoints.admin.key_schemas import CreateKeyBody, RotateKeyBody, UpdateKeyBody
from aioapp.web.openapi.streams import request
from aioapp.web.operations.sse import stream_body
from aioapp.web.operations.websocket import AuthRequest, CancelRequest
from tests.keyed import make_key, shown
from tests.shaped import bodies
from tests.test_hostile_bodies import MOST_ERROR, MOST_HELD, RUNS, Caller, called

TOGETHER = 25
PATIENCE = 10.0
Asked = tuple[str, bytes]
T = TypeVar("T")

BODIES = st.one_of([
    *(st.tuples(st.just(operation.path), bodies(operation.body())) for operation in OPERATIONS),
    *(st.tuples(st.just(operation.stream_path), bodies(stream_body(operation)())) for operation in OPERATIONS),
    st.tuples(st.just("/admin/keys"), bodies(CreateKeyBody())),
    st.tuples(st.just("/admin/keys/other/rotate"), bodies(RotateKeyBody())),
    st.tuples(st.just("PATCH /admin/keys/other"), bodies(UpdateKeyBody())),
])
FRAMES = st.one_of([
    *(bodies(request(operation, named=index > 0)()) for index, operation in enumerate(OPERATIONS)),
    bodies(CancelRequest()), bodies(AuthRequest()), st.binary(max_size=20)])


@dataclass
class Fuzz:
    """Asks one server much, on one connection; `statuses` counts the answers."""

    caller: Caller
    statuses: dict[int, int] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)
    _socket: ClientConnection | None = None

    def __post_init__(self) -> None:
        where = urlsplit(self.caller.server.url)
        assert where.hostname
        self._host = where.netloc
        self._http = HTTPConnection(where.hostname, where.port, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failed: object) -> None:
        self._http.close()
        self._open.close()

    def post(self, asked: Asked) -> None:
        to, body = asked
        method, _, path = to.rpartition(" ")
        self._http.request(method or "POST", path, body, {"Content-Type": "application/json", **shown(self.caller.key)})
        response = self._http.getresponse()
        self._check(asked, response.status, response.read())

    def say(self, frame: bytes) -> None:
        """Send a frame and read its answer's last one. After a bad key, which closes the socket, open another."""
        try:
            said = self._answer(frame)
        except ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == 1008
            self._open.close()
            self._socket = None
            said = self._answer(frame)
        assert "Internal server error" not in said, (frame, said)
        self._check(("FRAME", frame), 200 if json.loads(said)["success"] else 422, said.encode())

    def _answer(self, frame: bytes) -> str:
        if self._socket is None:
            socket = connect(f"ws://{self._host}/ws/generate", additional_headers=shown(self.caller.key))
            self._socket = self._open.enter_context(socket)
        self._socket.send(frame, text=True)
        said = ""
        while '"success":' not in said:
            said = self._socket.recv(PATIENCE, decode=True)
        return said

    def _check(self, asked: Asked, status: int, said: bytes) -> None:
        assert status != 500 and (status < 400 or len(said) <= MOST_ERROR), (asked, status, said[:200])
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def all(self, ask: Callable[[T], None], batch: Sequence[T]) -> None:
        """Ask all of them, again if need be, and see that the loop was not held for long; others may be in its way."""
        for _ in range(RUNS):
            self.caller.held.most = 0.0
            for one in batch:
                ask(one)
            if self.caller.held.most <= MOST_HELD:
                return
        raise AssertionError(f"The loop was held for {self.caller.held.most * 1000:.0f} ms.")


def run(fuzz: Fuzz, ask: Callable[[T], None], what: st.SearchStrategy[T], *, times: int) -> None:
    """Ask so many; the same ones every time. They are not made smaller, for each example stands for many."""
    @settings(max_examples=times // TOGETHER, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck), verbosity=Verbosity.quiet, report_multiple_bugs=False)
    @given(st.lists(what, min_size=TOGETHER, max_size=TOGETHER))
    def check(batch: list[T]) -> None:
        fuzz.all(ask, batch)

    with fuzz:
        check()


async def test_of_20000_random_bodies_none_is_a_fault_of_ours_a_large_error_or_long_work() -> None:
    make_key("other")
    async with called() as caller:
        fuzz = Fuzz(caller)
        await asyncio.to_thread(run, fuzz, fuzz.post, BODIES, times=20_000)
    assert sum(fuzz.statuses.values()) >= 20_000
    assert min(fuzz.statuses[200], fuzz.statuses[422]) > 2000, fuzz.statuses
    assert set(fuzz.statuses) <= {200, 201, 400, 403, 409, 422}


async def test_of_5000_random_frames_none_is_a_fault_of_ours_a_large_error_or_long_work() -> None:
    async with called() as caller:
        fuzz = Fuzz(caller)
        await asyncio.to_thread(run, fuzz, fuzz.say, FRAMES, times=5000)
    assert sum(fuzz.statuses.values()) >= 5000
    assert min(fuzz.statuses[200], fuzz.statuses[422]) > 500, fuzz.statuses
