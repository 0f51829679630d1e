"""What is asked of the servers: the table of workloads, each a fixed number of requests by h2load."""

from __future__ import annotations

from dataclasses import dataclass

SMALL_FILE_BYTES = 612
"""The size of the page that many servers install as their first; small enough for what a request costs to show."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One way to load a server with requests for the small file.

    Attributes:
        name: for the table.
        arguments: for h2load, without the number of requests and the URL.
        requests: in one run; about a second's worth.
    """

    name: str
    arguments: tuple[str, ...]
    requests: int


WORKLOADS = (
    Workload("HTTP/2, 20 connections x 20 streams", ("-c20", "-m20"), 60_000),
    Workload("HTTP/2, 20 connections x 1 stream", ("-c20", "-m1"), 20_000),
    Workload("HTTP/1.1 keep-alive, 20 connections", ("--h1", "-c20", "-m1"), 25_000),
)
