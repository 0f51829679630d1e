"""TLS (RFC 8446, RFC 5246 and what came after them)."""

TITLE = "TLS"
