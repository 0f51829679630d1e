"""Synchronous facts about files: safe paths, status, contents, types, validators, ranges."""
