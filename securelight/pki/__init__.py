"""Certificates: our own authority, leaves, key files, trust stores. The only place that imports `cryptography`."""
