"""The applications that application servers are loaded with."""
