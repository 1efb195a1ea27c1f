"""What the server tells whoever runs it, as text or as JSON. Prompts, answers and secrets are never part of it."""
import json
import logging
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime

from aioapp.callers import NANO
from aioapp.generation import Record
from aioapp.settings import Settings

requests = logging.getLogger("aioapp.requests")

JSON = json.JSONEncoder(check_circular=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRecord:
    """One request that has ended, or one frame of a WebSocket that asked for a generation.

    `key` is the name of the caller's key, `path` has no query, `status` is None where the caller left, and `record` is
    there if Claude was asked. It is logged as it is: only a formatter makes text of it.
    """

    remote: str
    key: str | None
    method: str
    path: str
    status: int | None
    seconds: float
    request_id: str
    record: Record | None

    def __str__(self) -> str:
        tail = "" if self.record is None else " " + generation_text(self.record)
        return (f"{self.remote or '-'} {self.key or '-'} {self.method} {self.path} {self.status or 'left'} "
                f"{self.seconds * 1e3:.1f} ms {self.request_id}{tail}")


def log_request(seen: AccessRecord) -> None:
    """One line for each request, those included that their caller left."""
    requests.info(seen)


def configure(settings: Settings) -> None:
    """Log to standard error, from the level that is set; but not libraries' debug lines, which quote what they send."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneObject() if settings.log_format == "json" else OneLine())
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler])
    logging.captureWarnings(settings.log_format == "json")  # Python itself would print them as lines of no form
    logging.getLogger("aioapp").setLevel(level)
    # Its warning quotes the subprotocols that a caller offers, and some offer their key as one.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    if not settings.access_log:
        requests.setLevel(logging.WARNING)


class OneLine(logging.Formatter):
    """A line for people. What cannot be printed is escaped, and tracebacks are indented.

    So what a caller names (a model, say) makes neither a line nor a terminal its own.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.message, record.asctime = record.getMessage(), self.formatTime(record)
        lines = [self.formatMessage(record), *trace_of(record).splitlines()]
        return "\n    ".join(map(printable, lines))


class OneObject(logging.Formatter):
    """A line that is one JSON object, for programs. All that is not printable ASCII is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        seen = record.msg if isinstance(record.msg, AccessRecord) else None
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": f"{seen.method} {seen.path} {seen.status or 'left'}" if seen else record.getMessage(),
        }
        if seen:
            line |= request_fields(seen)
        if trace := trace_of(record):
            line["traceback"] = trace
        return JSON.encode(line)


def request_fields(seen: AccessRecord) -> dict[str, object]:
    return {
        "remote": seen.remote,
        "key": seen.key,
        "method": seen.method,
        "path": seen.path,
        "status": seen.status,
        "duration_ms": round(seen.seconds * 1e3, 3),
        "request_id": seen.request_id,
        **(generation_fields(seen.record) if seen.record else {}),
    }


def generation_fields(record: Record) -> dict[str, object]:
    return {
        "model": record.model or record.call.prompt.model,
        "outcome": record.outcome,
        "error": record.error,
        "stop_reason": record.stop_reason,
        "input_tokens": record.usage.input_tokens,
        "output_tokens": record.usage.output_tokens,
        "cache_creation_input_tokens": record.usage.cache_creation_input_tokens,
        "cache_read_input_tokens": record.usage.cache_read_input_tokens,
        "cost_usd": record.nanodollars / NANO,
        "first_ms": None if record.first is None else round(record.first * 1e3, 3),
        "generation_ms": round(record.duration * 1e3, 3),
    }


def generation_text(record: Record) -> str:
    ending = f"{record.outcome} ({record.error})" if record.error else record.outcome
    first = "never" if record.first is None else f"{record.first:.3f} s"
    return (f"{record.model or record.call.prompt.model} {ending} {record.stop_reason or '-'} "
            f"in {record.usage.total - record.usage.output_tokens} out {record.usage.output_tokens} tokens "
            f"${record.nanodollars / NANO:.6f} first {first}")


def trace_of(record: logging.LogRecord) -> str:
    """The traceback and the stack that the record carries, most often none."""
    error = record.exc_info[1] if record.exc_info else None
    trace = "".join(traceback.format_exception(error)) if error else ""
    return trace + (record.stack_info or "")


def printable(line: str) -> str:
    return line if line.isprintable() else "".join(map(escaped, line))


def escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def server_logger() -> logging.Logger:
    """The logger for aiohttp's server, which quotes what it cannot parse, and a caller's key may be part of that."""
    logger = logging.getLogger("aioapp.server")
    logger.addFilter(without_quotes)
    return logger


def without_quotes(entry: logging.LogRecord) -> bool:
    """Name the class of a failure and leave out its text, unless it is a fault of ours."""
    error = entry.exc_info[1] if entry.exc_info else None
    if error is not None and type(error).__module__.startswith("aiohttp."):
        entry.msg, entry.args = f"Not HTTP as we know it: {type(error).__name__}", ()
        entry.exc_info = entry.exc_text = None
        entry.levelno, entry.levelname = logging.INFO, "INFO"
    return logging.getLogger(entry.name).isEnabledFor(entry.levelno)
