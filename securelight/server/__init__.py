"""Sockets, processes and time: where Trio lives."""
