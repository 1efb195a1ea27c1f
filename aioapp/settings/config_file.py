"""A file of settings: INI, by the names of the flags.

    [aioapp]
    port = 8080
    cors-origin = https://a.example
        https://b.example

The section's header may be left out. An empty entry counts as unset.
"""
from collections.abc import Collection
from configparser import ConfigParser, DuplicateOptionError, Error, MissingSectionHeaderError, ParsingError
from pathlib import Path

SECTION = "aioapp"
OTHERS = 0o044
"""The bits of a file's mode by which others than its owner may read it."""


def entries(path: str, *, known: Collection[str]) -> dict[str, str]:
    """What the file says, by names that are all among the `known`. Raises `ValueError` with one line that says why not.

    The lines of an entry that has several have commas between them.
    """
    text = text_of(path)
    first = next((line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#;"), f"[{SECTION}]")
    added = not first.lstrip().startswith("[")
    reader = ConfigParser(
        interpolation=None, delimiters="=", default_section="", empty_lines_in_values=False, allow_no_value=True)
    reader.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation says it is to be replaced
    try:
        reader.read_string(f"[{SECTION}]\n{text}" if added else text)
    except Error as error:
        raise ValueError(f"{path}: {reason(error, added=added)}") from None
    for section in reader.sections():
        if section != SECTION:
            raise ValueError(f"{path}: [{section}] is not known; there is only [{SECTION}]")
    found: dict[str, str | None] = dict(reader[SECTION]) if reader.has_section(SECTION) else {}
    for name, value in found.items():
        if name not in known:
            raise ValueError(f"{path}: {name!r} is not a setting; they have the names of the flags, such as port")
        if value is None:
            raise ValueError(f"{path}: {name} has no value; write {name} = …")
    return {name: ",".join(value.split("\n")) for name, value in found.items() if value and value.strip()}


def text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{path} cannot be read: it is no text in UTF-8") from None


def reason(error: Error, *, added: bool) -> str:
    """What is wrong with the file, without its text: there may be a secret in it."""
    match error:
        case DuplicateOptionError():
            return f"{error.option} stands there twice"
        case MissingSectionHeaderError(lineno=int(line)) | ParsingError(errors=[(int(line), _), *_]):
            return f"line {line - added} is not like: name = value"
    return f"a section stands there twice; there is only [{SECTION}]"


def is_exposed(path: str) -> bool:
    """Whether others than its owner may read what it keeps secret."""
    try:
        return bool(Path(path).stat().st_mode & OTHERS) and any(
            line.partition("=")[0].strip().endswith("-secret") for line in text_of(path).splitlines())
    except (OSError, ValueError):
        return False
