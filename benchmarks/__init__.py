"""What the server costs: requests per second against other servers in interleaved runs, and memory.

`python -m benchmarks` (or `make bench`) runs everything; see `--help`. Nothing here is part of the server.
"""
