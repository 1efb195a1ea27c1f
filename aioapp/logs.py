"""What the server tells whoever runs it. Prompts, answers and secrets are never part of it."""
import logging
import sys

from aioapp.layers import Record
from aioapp.settings import Settings

generations = logging.getLogger("aioapp.generations")

ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7f, 0xa0))}


class OneLine(logging.Formatter):
    """Escapes control characters: what a caller names (a model, say) must not make a line, or a terminal, its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return super().formatMessage(record).translate(ESCAPES)


def configure(settings: Settings) -> None:
    """Log to standard error, from the level that is set; but not libraries' debug lines, which quote what they send."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler])
    logging.getLogger("aioapp").setLevel(level)
    if not settings.access_log:
        for name in ("aioapp.requests", "aioapp.generations"):
            logging.getLogger(name).setLevel(logging.WARNING)


def log_generation(record: Record) -> None:
    """One line for each generation, however it ended."""
    generations.info(
        "%s %s%s: %s, %s, in %d out %d tokens, first after %s, %.3f s",
        record.call.request_id, record.outcome, f" ({record.error})" if record.error else "",
        record.model or record.call.prompt.model, record.stop_reason or "no stop reason",
        record.usage.total - record.usage.output_tokens, record.usage.output_tokens,
        "never" if record.first is None else f"{record.first:.3f} s", record.duration)


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
