"""What a database can raise, in one place: a file of which a byte is not what was written may say anything."""
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from aioapp.errors import AppError

FAILURES = (sqlite3.Error, OSError)
"""What is raised where the database cannot be used: by SQLite, by the system, and by us for rows that cannot be."""


@contextmanager
def sound(what: str = "what it holds", *, foreseen: type[Exception] = Exception) -> Iterator[None]:
    """Around what is made of rows: whatever `foreseen` that raises is `DataError`, which names it as `what`.

    SQLite looks at few of the bytes that it reads: a number may be a text, a column have lost its name, and a text be
    none, that of SQLite's own message included. What passes is a refusal of ours, and a text that SQLite does not take.
    """
    try:
        yield
    except (AppError, UnicodeEncodeError, *FAILURES):
        raise
    except foreseen as error:
        why = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise sqlite3.DataError(f"{what} cannot be: {why}") from error


def reason(error: Exception) -> str:
    """Why the database cannot be used, in one line: SQLite quotes from the file."""
    said = getattr(error, "strerror", None) or str(error)
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in said)
