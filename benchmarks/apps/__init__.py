"""The ASGI application that every application server is loaded with."""
