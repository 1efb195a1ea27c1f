"""Brings the tables up to date, once, whoever comes first."""
from sqlite3 import Connection, DatabaseError

from aioapp.store.embedded.migrations import MIGRATIONS


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, whichever of several processes comes first. Raises `NewerDatabase`.

    Where they are, nobody waits for a process that writes.
    """
    if version_of(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(connection)
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            for statement in statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    except BaseException:
        if connection.in_transaction:  # SQLite itself goes back where the disk is full, say
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def version_of(connection: Connection) -> int:
    """How many migrations it has seen."""
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise NewerDatabase(f"it was made by a newer aioapp (version {version}, this one knows {len(MIGRATIONS)})")
    return int(version)


class NewerDatabase(DatabaseError):
    """The database was migrated beyond what this version knows."""


def statements(script: str) -> list[str]:
    """The script in single statements: `executescript` would commit, and leave half a migration to a crash.

    A trigger ends with END on the line of its last statement, so a semicolon at a line's end is a statement's end.
    """
    return [statement for statement in script.split(";\n") if statement.strip()]
