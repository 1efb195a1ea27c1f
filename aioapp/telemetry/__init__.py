"""What whoever runs the server is told: log lines and metrics."""
