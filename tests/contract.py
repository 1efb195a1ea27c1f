"""What the OpenAPI document promises, held against what was really sent."""
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import aiohttp
import jsonschema_rs

from aioapp.endpoints import OPERATIONS, endpoints
from aioapp.web.openapi.document import document

Json = dict[str, Any]
EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Contract:
    """Its checks raise `jsonschema_rs.ValidationError`, or AssertionError for what is no schema's business."""

    document: Json

    def operations(self) -> Iterator[tuple[str, str, Json]]:
        """Path, method and description of every operation."""
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                yield path, method, operation

    def statuses(self, path: str, method: str) -> set[int]:
        return set(map(int, self.document["paths"][path][method.lower()]["responses"]))

    def schema(self, name: str) -> Json:
        found: Json = self.document["components"]["schemas"][name]
        return found

    def check(self, value: Any, schema: Json) -> None:
        """`value` is what `schema`, which may refer into the document, says."""
        rooted = {**schema, "components": self.document["components"]}
        jsonschema_rs.Draft202012Validator(rooted, validate_formats=True).validate(value)

    def check_named(self, value: Any, name: str) -> None:
        self.check(value, {"$ref": f"#/components/schemas/{name}"})

    async def check_response(self, path: str, response: aiohttp.ClientResponse) -> None:
        """Status, headers, media type and body are among what the operation documents."""
        described = self.document["paths"][path][response.method.lower()]["responses"][str(response.status)]
        for name in described["headers"]:
            self._check_header(response.headers, name)
        content = described.get("content", {})
        if response.status == 101:
            assert not content
        elif response.content_type == EVENTS:
            self.check_events(await response.text(), content[EVENTS]["schema"])
        elif response.content_type in ("text/plain", "text/csv"):
            self.check(await response.text(), content[response.content_type]["schema"])
        else:
            self.check(await response.json(), content[response.content_type]["schema"])

    def check_events(self, text: str, schema: Json) -> None:
        for event in events(text):
            self.check(event, schema)
            if event["event"] != "message":
                self.check(json.loads(event["data"]), self._content_schema(schema, event["event"]))

    def _content_schema(self, stream: Json, kind: str) -> Json:
        """The schema inside the text of `data`, which no validator looks into by itself."""
        known = self.schema(stream["$ref"].rpartition("/")[2])["oneOf"]
        [event] = (event for event in known if event["properties"]["event"]["const"] == kind)
        found: Json = event["properties"]["data"]["contentSchema"]
        return found

    def _check_header(self, headers: Mapping[str, str], name: str) -> None:
        header = self.document["components"]["headers"][name]
        if name not in headers:
            assert not header.get("required"), f"{name} is missing"
            return
        said = headers[name] if header["schema"]["type"] == "string" else json.loads(headers[name])
        self.check(said, header["schema"])


def events(text: str) -> Iterator[dict[str, str]]:
    """Server-sent events, each with its name and its data; comments are none."""
    for block in text.split("\n\n"):
        lines = [line.partition(": ")[::2] for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            named = [value for field, value in lines if field == "event"]
            yield {"event": named[-1] if named else "message",
                   "data": "\n".join(value for field, value in lines if field == "data")}


@cache
def contract() -> Contract:
    return Contract(document(endpoints(), OPERATIONS))
