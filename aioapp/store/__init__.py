"""What outlives the process: one SQLite database, shared by all workers of a machine."""
