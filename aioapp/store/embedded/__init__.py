"""The store of one machine: an SQLite database, and a file that all its processes map."""
