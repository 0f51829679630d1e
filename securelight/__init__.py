"""securelight: a TLS-first HTTP/2 and HTTP/1.1 web server on Trio."""

__version__ = "0.1.0"
