"""Clients that nobody here wrote: real programs against the real server."""
