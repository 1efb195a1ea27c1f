"""Keys, for administrators: who has one, what it may do, and an end to it. A key can never grant more than it has."""
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection
from typing import Any, TypeVar

from aiohttp import web

from aioapp import errors
from aioapp.callers import Caller
from aioapp.endpoints.admin.key_schemas import (
    KEY, SECRET, WANTED, CreateKeyBody, KeysAnswer, NewSecretAnswer, OneKeyAnswer, RotateKeyBody, asked_for,
)
from aioapp.keys import Key
from aioapp.keys.text import told
from aioapp.store.embedded import keys as table
from aioapp.web import answers
from aioapp.web.context import CALLER, SERVICES
from aioapp.web.endpoint import Endpoint, Handler, json_response, read_body
from aioapp.web.schemas import SAMPLE

T = TypeVar("T")
JSON = "application/json"
BODY_ERRORS = (errors.RequestTooLarge, errors.UnsupportedMediaType, errors.ValidationFailed)


def may_change(connection: Connection, caller: Caller, *, at: datetime) -> Key:
    """The key of whoever changes keys, as it is by now. Raises `Forbidden`.

    A secret that was replaced may have been lost to somebody: it must not outlive its grace by making another.
    """
    own = table.find(connection, caller.name)
    if own.state(at) != "active":
        raise errors.Forbidden(f"Your key is {own.state(at)}.")
    if table.secret(connection, caller.secret).expires_at is not None:
        raise errors.Forbidden("Your secret was replaced. Change keys with the new one.")
    return own


def may_grant(connection: Connection, wanted: Key, *, by: Caller, at: datetime) -> None:
    """Raises `Forbidden` where `by` would grant more than it has."""
    if beyond := wanted.exceeds(may_change(connection, by, at=at)):
        raise errors.Forbidden(f"Your key cannot grant more than it has: {', '.join(beyond)}.")


async def listed(request: web.Request) -> web.Response:
    at = datetime.now(UTC)
    keys = await request.app[SERVICES].database.read(table.listed)
    return json_response({"keys": [told(key, at=at) for key in keys], "timestamp": answers.now()})


async def shown(request: web.Request) -> web.Response:
    key = await request.app[SERVICES].database.read(lambda connection: table.find(connection, named(request)))
    return one_key(key)


async def created(request: web.Request) -> web.Response:
    at = datetime.now(UTC)
    key, creator = asked_for(await read_body(request, CREATE), at=at), request[CALLER]

    def create(connection: Connection) -> str:
        may_grant(connection, key, by=creator, at=at)
        return table.create(connection, key, at=at)

    return one_key(key, status=201, secret=await changed(request, create))


async def revoked(request: web.Request) -> web.Response:
    at = datetime.now(UTC)

    def revoke(connection: Connection) -> Key:
        may_change(connection, request[CALLER], at=at)
        return table.revoke(connection, named(request), at=at)

    return one_key(await changed(request, revoke))


async def rotated(request: web.Request) -> web.Response:
    at, rotator = datetime.now(UTC), request[CALLER]
    grace = timedelta(seconds=(await read_body(request, ROTATE))["grace_seconds"])

    def rotate(connection: Connection) -> tuple[Key, str]:
        key = table.find(connection, named(request))
        may_grant(connection, key, by=rotator, at=at)  # its new secret is handed out
        return key, table.rotate(connection, key.name, at=at, grace=grace)

    key, secret = await changed(request, rotate)
    return one_key(key, secret=secret)


async def changed(request: web.Request, change: Callable[[Connection], T]) -> T:
    """Change the keys, so that this process knows it before it answers; the others see it within a second."""
    services = request.app[SERVICES]
    result = await services.database.write(change)
    await services.authenticator.keyring.refresh()
    return result


def named(request: web.Request) -> str:
    return request.match_info["name"]


def one_key(key: Key, *, status: int = 200, secret: str | None = None) -> web.Response:
    said: dict[str, Any] = {"key": told(key, at=datetime.now(UTC)), "timestamp": answers.now()}
    # Not even a browser's cache is told a secret (RFC 9111 §5.2.2.5).
    return json_response(said if secret is None else {**said, "secret": secret}, status=status,
                         headers={"Cache-Control": "no-store"})


def endpoint(handler: Handler, **more: Any) -> Endpoint:
    return Endpoint(handler=handler, tag="Administration", access="admin", **more)


ONE = {"key": KEY, "timestamp": SAMPLE["timestamp"]}
NEW = {**ONE, "secret": SECRET}
CREATE, ROTATE = CreateKeyBody(), RotateKeyBody()

KEYS = (
    endpoint(listed, name="listKeys", path="/admin/keys", summary="All keys",
             answers={200: {JSON: KeysAnswer}}, sample={"keys": [KEY], "timestamp": SAMPLE["timestamp"]}),
    endpoint(created, name="createKey", method="POST", path="/admin/keys", summary="Make a key",
             description="The secret is in this answer and nowhere else. 403 for what your own key does not have.",
             body=CreateKeyBody, example=WANTED, answers={201: {JSON: NewSecretAnswer}}, sample=NEW,
             errors=(*BODY_ERRORS, errors.Conflict)),
    endpoint(shown, name="showKey", path="/admin/keys/{name}", summary="One key",
             answers={200: {JSON: OneKeyAnswer}}, sample=ONE, errors=(errors.NotFound,)),
    endpoint(revoked, name="revokeKey", method="DELETE", path="/admin/keys/{name}", summary="End a key, for good",
             answers={200: {JSON: OneKeyAnswer}}, sample=ONE, errors=(errors.NotFound, errors.Conflict)),
    endpoint(rotated, name="rotateKey", method="POST", path="/admin/keys/{name}/rotate",
             summary="Give a key a new secret",
             description="The older secrets work for a while yet. 403 for a key that may do what yours may not.",
             body=RotateKeyBody, example={"grace_seconds": 86_400}, answers={200: {JSON: NewSecretAnswer}}, sample=NEW,
             errors=(*BODY_ERRORS, errors.NotFound, errors.Conflict)),
)
