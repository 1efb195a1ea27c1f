"""A receiver of webhooks that believes no signature but a right one."""
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.upstreams import Connection, Script, Upstream, upstream

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


async def taken(connection: Connection) -> None:
    await connection.answer(204, b"")


async def broken(connection: Connection) -> None:
    await connection.answer(500, b"no")


async def silent(connection: Connection) -> None:
    """Say nothing until the sender has gone."""
    await connection.gone.wait()


class Receiver:
    """What came, verified by the `standardwebhooks` package."""

    def __init__(self, server: Upstream) -> None:
        self.server = server
        self.url = f"{server.url}/hooks"

    def answer_by(self, *scripts: Script) -> None:
        """From now on."""
        self.server.scripts = [self.server.scripts[0]] * len(self.server.seen) + list(scripts)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Each with its id. Raises where one was not signed."""
        return [{"id": one.headers["webhook-id"], **self._verified(one)} for one in self.server.seen]

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]

    def _verified(self, one: Connection) -> dict[str, Any]:
        assert one.head.startswith("POST /hooks HTTP/1.1") and one.headers["content-type"] == "application/json"
        said: dict[str, Any] = Webhook(SECRET).verify(one.raw, one.headers)
        assert said == json.loads(one.raw) and set(said) == {"type", "timestamp", "data"}
        return said


@asynccontextmanager
async def receiver(*scripts: Script) -> AsyncIterator[Receiver]:
    async with upstream(*(scripts or (taken,))) as server:
        yield Receiver(server)
