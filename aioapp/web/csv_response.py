"""Rows as a file that spreadsheets open (RFC 4180)."""
import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from aiohttp import web

CSV = "text/csv"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a text begins with that a spreadsheet would compute (OWASP, CSV injection)."""


def csv_response(rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str], name: str) -> web.Response:
    """The columns of the rows, to be kept as `name`; what is null is an empty field."""
    text = StringIO()
    written = csv.writer(text, lineterminator="\r\n")
    written.writerow(columns)
    written.writerows([plain(row.get(column)) for column in columns] for row in rows)
    return web.Response(
        body=text.getvalue().encode(errors="replace"), content_type=CSV, charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'})


def plain(value: Any) -> Any:
    """No formula: to a text that might be taken for one, an apostrophe is put first."""
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA) else value
