"""Whom a route is for, and how much of its limits a caller has left."""
