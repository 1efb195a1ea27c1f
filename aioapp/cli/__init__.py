"""The command line: one file a command, and what must hold before the server opens."""
