"""Servers behind us: their addresses, connections to them, which one is asked, and whether they are well."""
