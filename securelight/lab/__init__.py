"""A running set of TLS endpoints, most of them bad on purpose, and a check of what clients make of them."""
