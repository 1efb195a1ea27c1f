"""All that can be set: what there is, and how flags, variables and a file say it."""
from aioapp.settings.reading import database_of, from_command_line, from_environ, log_format, parser
from aioapp.settings.table import LIFELINE, ROWS, SettingError, Settings, flag_of, variable_of

__all__ = [
    "LIFELINE", "ROWS", "SettingError", "Settings", "database_of", "flag_of", "from_command_line", "from_environ",
    "log_format", "parser", "variable_of",
]
