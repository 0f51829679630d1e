"""The engine that runs stages, a handler and filters over a request."""
