"""Runs a client once per case, and compares what it did with what a correct client does."""
