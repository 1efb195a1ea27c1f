"""Connections: what one may take and for how long, and what is answered where no handler will be asked."""
