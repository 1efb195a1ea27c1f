"""What was done to keys, by whom and when, for administrators: page by page, the latest first."""
from aiohttp import web
from marshmallow import Schema, fields, validate

from aioapp import errors
from aioapp.keys.audit import COMMAND_LINE, DEEDS, as_object
from aioapp.keys.changes import TERMS
from aioapp.web import answers
from aioapp.web.context import SERVICES
from aioapp.web.endpoint import Endpoint, json_response, read_query
from aioapp.web.fields import counted, text
from aioapp.web.schemas import SAMPLE, Body, ref

MOST = 500
LAST = 10**15
JSON = "application/json"
TERM = {"anyOf": [
    {"type": ["string", "integer", "boolean", "null"]}, {"type": "array", "items": {"type": "string"}},
    ref("BudgetAnswer")]}


class AuditQuery(Body):
    limit = counted(1, MOST, load_default=50)
    cursor = counted(1, LAST, description="The `next` of the page before.")
    key = text(least=1, most=64, description="Only what was done to this key.")


class ChangeAnswer(Schema):
    """Of a term. Of a key that was made, `from` is what it would have been had nothing been said of it."""

    field = fields.String(required=True, validate=validate.OneOf(TERMS))
    before = fields.Raw(required=True, data_key="from", metadata=TERM)
    after = fields.Raw(required=True, data_key="to", metadata=TERM)


class EntryAnswer(Schema):
    at = fields.DateTime(required=True)
    by = fields.String(required=True, metadata={"description": f"A key, or `{COMMAND_LINE}`."})
    what = fields.String(required=True, validate=validate.OneOf(DEEDS))
    key = fields.String(required=True)
    changes = fields.List(fields.Nested(ChangeAnswer), required=True)


class AuditAnswer(Schema):
    entries = fields.List(fields.Nested(EntryAnswer), required=True, metadata={"description": "The latest first."})
    next = fields.Integer(required=True, allow_none=True, metadata={
        "description": "The `cursor` of what is older; null at the end."})
    timestamp = fields.DateTime(required=True)


async def trail(request: web.Request) -> web.Response:
    asked = read_query(request, QUERY)
    page = await request.app[SERVICES].keys.trail(
        limit=asked["limit"], before=asked.get("cursor"), key=asked.get("key"))
    return json_response({
        "entries": [as_object(entry) for entry in page.entries], "next": page.next, "timestamp": answers.now()})


QUERY = AuditQuery()

AUDIT = (
    Endpoint(
        name="audit", path="/admin/audit", handler=trail, summary="Who did what to which key, and when",
        tag="Administration", access="admin", query=AuditQuery, errors=(errors.ValidationFailed,),
        answers={200: {JSON: AuditAnswer}},
        sample={"next": 1, "timestamp": SAMPLE["timestamp"], "entries": [{
            "at": SAMPLE["timestamp"], "by": "boss", "what": "changed", "key": "web", "changes": [
                {"field": "concurrency", "from": 4, "to": 8},
                {"field": "budget", "from": None, "to": {"usd": 5.0, "per": "day", "strict": False}}]}]}),
)
