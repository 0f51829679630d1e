"""Fuzzing: `python -m tests.fuzz TARGET --seconds N`; see docs/fuzzing.md."""
