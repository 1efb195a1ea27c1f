"""Claude's models: those that a key may use."""
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import jiter
from aiohttp import web

from aioapp.endpoints.v1.passed import answer, ask, with_query
from aioapp.errors import BadRequest, NotFound, Said, UpstreamFailed
from aioapp.messages.named_models import LONGEST_MODEL
from aioapp.web.context import CALLER
from aioapp.web.endpoint import Endpoint, json_response
from aioapp.web.operations.operation import UPSTREAM_ERRORS

PATH = "/v1/models"
MOST, USUAL = 1000, 20
"""Models on a page: at most, and where nobody says."""
MOST_PAGES = 10
MODEL: Mapping[str, Any] = {"id": "claude-sonnet-5-5", "type": "model", "display_name": "Claude Sonnet 5.5"}
Model = Mapping[str, Any]
SANE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:@-]{{,{LONGEST_MODEL - 1}}}")
"""Of the names of models, those that cannot lead elsewhere: a slash of theirs may become one of the path, on the way.
"""


async def listed(request: web.Request) -> web.Response:
    """As Claude has it; for a key that may not use every model, pages of those that it may."""
    if "*" in request[CALLER].models:
        return answer(await ask(request, with_query(request, PATH)))
    every: list[Model] = []
    target = f"{PATH}?limit={MOST}"
    for _ in range(MOST_PAGES):
        said = await ask(request, target)
        if said.status != 200:
            return answer(said)
        models, more = page_of(said)
        every += [model for model in models if request[CALLER].may_use(model["id"])]
        if not more:
            break
        target = f"{PATH}?limit={MOST}&after_id={quote(models[-1]['id'])}"
    return json_response(paged(every, query=request.query))


def page_of(said: Said) -> tuple[list[Model], bool]:
    """The models of a page, and whether there are more behind it. Raises `UpstreamFailed` for what is no page."""
    try:
        match jiter.from_json(said.body):
            case {"data": [*models], "has_more": bool(more)} if all(map(is_model, models)):
                return models, bool(models) and more
    except ValueError:
        pass
    raise UpstreamFailed("Claude's list of models makes no sense.")


def is_model(model: object) -> bool:
    return isinstance(model, dict) and isinstance(model.get("id"), str)


def paged(models: list[Model], *, query: Mapping[str, str]) -> dict[str, Any]:
    """A page of them, by the same cursors that Claude has. Raises `BadRequest`."""
    limit = limit_in(query)
    ids = [model["id"] for model in models]
    before, after = query.get("before_id"), query.get("after_id")
    if before is not None and before in ids:
        end = ids.index(before)
        start, more = max(0, end - limit), end > limit
    else:
        start = ids.index(after) + 1 if after is not None and after in ids else 0
        end, more = start + limit, len(ids) > start + limit
    page = models[start:end]
    return {"data": page, "has_more": more, "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None}


def limit_in(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(USUAL))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:5]) <= MOST):
        raise BadRequest(f"limit: a whole number from 1 to {MOST}")
    return int(text)


async def shown(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    if not SANE.fullmatch(name):
        raise NotFound(f"There is no model {name[:LONGEST_MODEL]} here.")
    request[CALLER].check_model(name)
    return answer(await ask(request, f"{PATH}/{name}"))


MODELS = (
    Endpoint(
        name="listModels", path=PATH, handler=listed, tag="Anthropic", shape="anthropic",
        summary="The models that your key may use", answers={200: {"application/json": {"type": "object"}}},
        sample={"data": [MODEL], "has_more": False, "first_id": MODEL["id"], "last_id": MODEL["id"]},
        errors=UPSTREAM_ERRORS),
    Endpoint(
        name="showModel", path=PATH + "/{id}", handler=shown, tag="Anthropic", shape="anthropic",
        summary="One model", answers={200: {"application/json": {"type": "object"}}}, sample=MODEL,
        errors=(NotFound, *UPSTREAM_ERRORS)),
)
