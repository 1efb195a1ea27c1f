"""What the server tells whoever runs it, as text or as JSON. Prompts, answers and secrets are never part of it."""
import json
import logging
import sys
import threading
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime

from aioapp.money import NANO
from aioapp.generation import Generation
from aioapp.settings import Settings

requests = logging.getLogger("aioapp.requests")
uncaught = logging.getLogger("aioapp.uncaught")

LEFT = ("Connection closed.",)
"""What aiohttp says where a caller leaves within a body that nobody reads."""
JSON = json.JSONEncoder(check_circular=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRecord:
    """One request that has ended, or one frame of a WebSocket that asked for a generation.

    `key` is the name of the caller's key, `path` has no query, `status` is None where the caller left, and `generation`
    is there if Claude was asked. `refused` is the origin or the host that is not let in. It is logged as it is: only a
    formatter makes text of it.
    """

    remote: str
    key: str | None
    method: str
    path: str
    status: int | None
    seconds: float
    request_id: str
    generation: Generation | None
    refused: str | None = None

    def __str__(self) -> str:
        tail = "" if self.generation is None else " " + generation_text(self.generation)
        tail += f" refused {self.refused}" if self.refused else ""
        return (f"{self.remote or '-'} {self.key or '-'} {self.method} {self.path} {self.status or 'left'} "
                f"{self.seconds * 1e3:.1f} ms {self.request_id}{tail}")


def is_logged(level: int) -> bool:
    """Whether requests of this level are logged: else none need be told."""
    return requests.isEnabledFor(level)


def log_request(seen: AccessRecord, *, level: int = logging.INFO) -> None:
    """One line for each request, those included that their caller left."""
    requests.log(level, seen)


def configure(settings: Settings) -> None:
    """Log to standard error, from the level that is set; but not libraries' debug lines, which quote what they send."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneObject() if settings.log_format == "json" else OneLine())
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler])
    if settings.log_format == "json":
        claim_stderr()
    logging.getLogger("aioapp").setLevel(level)
    # Its warning quotes the subprotocols that a caller offers, and some offer their key as one.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
    if not settings.access_log:
        requests.setLevel(logging.WARNING)


def claim_stderr() -> None:
    """Log what Python itself would print, as lines of no form: warnings, and what nobody catches."""
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: uncaught.critical("Nobody caught this.", exc_info=error)
    sys.unraisablehook = lambda seen: uncaught.error("Nobody could catch this.", exc_info=seen.exc_value)
    threading.excepthook = lambda seen: uncaught.error("Nobody caught this in a thread.", exc_info=seen.exc_value)


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
            "pid": record.process,
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
        **({"refused": seen.refused} if seen.refused else {}),
        **(generation_fields(seen.generation) if seen.generation else {}),
    }


def generation_fields(generation: Generation) -> dict[str, object]:
    return {
        "model": generation.model or generation.asked_for,
        "outcome": generation.outcome,
        "error": generation.error,
        "stop_reason": generation.answer.stop_reason,
        "input_tokens": generation.usage.input_tokens,
        "output_tokens": generation.usage.output_tokens,
        "cache_creation_input_tokens": generation.usage.cache_creation_input_tokens,
        "cache_read_input_tokens": generation.usage.cache_read_input_tokens,
        "cost_usd": generation.nanodollars / NANO,
        "first_ms": None if generation.first is None else round(generation.first * 1e3, 3),
        "generation_ms": round(generation.duration * 1e3, 3),
    }


def generation_text(generation: Generation) -> str:
    ending = f"{generation.outcome} ({generation.error})" if generation.error else generation.outcome
    first = "never" if generation.first is None else f"{generation.first:.3f} s"
    return (f"{generation.model or generation.asked_for} {ending} {generation.answer.stop_reason or '-'} "
            f"in {generation.usage.total - generation.usage.output_tokens} out {generation.usage.output_tokens} tokens "
            f"${generation.nanodollars / NANO:.6f} first {first}")


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
    """Name the class of a failure and leave out its text, unless it is a fault of ours. That a caller left is none."""
    error = entry.exc_info[1] if entry.exc_info else None
    if isinstance(error, RuntimeError) and error.args == LEFT:
        return False
    if error is not None and type(error).__module__.startswith("aiohttp."):
        entry.msg, entry.args = f"Not HTTP as we know it: {type(error).__name__}", ()
        entry.exc_info = entry.exc_text = None
        entry.levelno, entry.levelname = logging.INFO, "INFO"
    return logging.getLogger(entry.name).isEnabledFor(entry.levelno)
