"""Keys, for administrators: who has one, what it may do, and an end to it. A key can never grant more than it has."""
import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from aioapp import errors
from aioapp.callers import UNUSED
from aioapp.endpoints.admin.key_schemas import (
    CHANGED, KEY, SECRET, WANTED, CreateKeyBody, KeysAnswer, NewSecretAnswer, OneKeyAnswer, RotateKeyBody,
    UpdateKeyBody, asked_for, patch_asked_for, told_by_field,
)
from aioapp.keys import Key
from aioapp.keys.text import as_object
from aioapp.web import answers
from aioapp.web.context import CALLER, SERVICES
from aioapp.web.endpoint import MERGE_PATCH, Endpoint, Handler, json_response, read_body
from aioapp.web.schemas import SAMPLE
from aioapp.web.validation import loaded, patch_of

JSON = "application/json"
BODY_ERRORS = (errors.RequestTooLarge, errors.UnsupportedMediaType, errors.ValidationFailed)


async def listed(request: web.Request) -> web.Response:
    at, services = datetime.now(UTC), request.app[SERVICES]
    await services.ledger.flush()
    keys, standings = await services.keys.listed(), await services.usage.standings(at=at)

    def told() -> web.Response:
        rows = [as_object(key, standings.get(key.name, UNUSED), at=at) for key in keys]
        return json_response({"keys": rows, "timestamp": answers.now()})

    # Ten thousand keys take a quarter of a second, in which the event loop has callers to serve.
    return await asyncio.to_thread(told)


async def shown(request: web.Request) -> web.Response:
    return await one_key(request, await request.app[SERVICES].keys.find(named(request)))


async def created(request: web.Request) -> web.Response:
    at = datetime.now(UTC)
    key = asked_for(await read_body(request, CREATE), at=at)
    secret = await request.app[SERVICES].keys.create(key, by=request[CALLER], at=at)
    return await changed(request, key, status=201, secret=secret)


async def updated(request: web.Request) -> web.Response:
    at, keys = datetime.now(UTC), request.app[SERVICES].keys
    patch = patch_asked_for(await read_body(request, UPDATE, kinds=MERGE_PATCH, load=patch_of), at=at)
    with told_by_field():
        key = await keys.update(named(request), patch, by=request[CALLER], at=at)
    return await changed(request, key)


async def revoked(request: web.Request) -> web.Response:
    keys = request.app[SERVICES].keys
    return await changed(request, await keys.revoke(named(request), by=request[CALLER], at=datetime.now(UTC)))


async def rotated(request: web.Request) -> web.Response:
    at, keys = datetime.now(UTC), request.app[SERVICES].keys
    body = await read_body(request, ROTATE) if request.body_exists else loaded(ROTATE, {})
    grace = timedelta(seconds=body["grace_seconds"])
    key, secret = await keys.rotate(named(request), by=request[CALLER], at=at, grace=grace)
    return await changed(request, key, secret=secret)


async def changed(request: web.Request, key: Key, *, status: int = 200, secret: str | None = None) -> web.Response:
    """This process knows of the change before it answers; the others see it within a second."""
    await request.app[SERVICES].authenticator.keyring.refresh()
    return await one_key(request, key, status=status, secret=secret)


def named(request: web.Request) -> str:
    return request.match_info["name"]


async def one_key(request: web.Request, key: Key, *, status: int = 200, secret: str | None = None) -> web.Response:
    at, services = datetime.now(UTC), request.app[SERVICES]
    await services.ledger.flush()
    standing = (await services.usage.standings(at=at, key=key.name)).get(key.name, UNUSED)
    said: dict[str, Any] = {"key": as_object(key, standing, at=at), "timestamp": answers.now()}
    # Not even a browser's cache is told a secret (RFC 9111 §5.2.2.5).
    return json_response(said if secret is None else {**said, "secret": secret}, status=status,
                         headers={"Cache-Control": "no-store"})


def endpoint(handler: Handler, **more: Any) -> Endpoint:
    return Endpoint(handler=handler, tag="Administration", access="admin", **more)


ONE = {"key": KEY, "timestamp": SAMPLE["timestamp"]}
NEW = {**ONE, "secret": SECRET}
CREATE, UPDATE, ROTATE = CreateKeyBody(), UpdateKeyBody(), RotateKeyBody()

KEYS = (
    endpoint(listed, name="listKeys", path="/admin/keys", summary="All keys",
             answers={200: {JSON: KeysAnswer}}, sample={"keys": [KEY], "timestamp": SAMPLE["timestamp"]}),
    endpoint(created, name="createKey", method="POST", path="/admin/keys", summary="Make a key",
             description="The secret is in this answer and nowhere else. 403 for what your own key does not have.",
             body=CreateKeyBody, example=WANTED, answers={201: {JSON: NewSecretAnswer}}, sample=NEW,
             errors=(*BODY_ERRORS, errors.Conflict)),
    endpoint(shown, name="showKey", path="/admin/keys/{name}", summary="One key",
             answers={200: {JSON: OneKeyAnswer}}, sample=ONE, errors=(errors.NotFound,)),
    endpoint(updated, name="updateKey", method="PATCH", path="/admin/keys/{name}", summary="Change a key's terms",
             description="A JSON merge patch (RFC 7396): what is absent stays, null lifts. Every worker knows within a "
                         "second; answers that run go on. 403 for what your own key does not have, before or after.",
             body=UpdateKeyBody, kinds=MERGE_PATCH, example=CHANGED, answers={200: {JSON: OneKeyAnswer}}, sample=ONE,
             errors=(*BODY_ERRORS, errors.NotFound, errors.Conflict)),
    endpoint(revoked, name="revokeKey", method="DELETE", path="/admin/keys/{name}", summary="End a key, for good",
             answers={200: {JSON: OneKeyAnswer}}, sample=ONE, errors=(errors.NotFound, errors.Conflict)),
    endpoint(rotated, name="rotateKey", method="POST", path="/admin/keys/{name}/rotate",
             summary="Give a key a new secret",
             description="The older secrets work for a while yet: a day, without a body. 403 for a key that may do "
                         "what yours may not.",
             body=RotateKeyBody, body_required=False, example={"grace_seconds": 86_400},
             answers={200: {JSON: NewSecretAnswer}}, sample=NEW,
             errors=(*BODY_ERRORS, errors.NotFound, errors.Conflict)),
)
