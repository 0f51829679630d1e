"""Group 7: conditional requests, ranges and precompressed files, on both protocols' busiest row."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from benchmarks.loads import Load, h2load
from benchmarks.peers.peer import Ability
from benchmarks.processes import BenchmarkError, Running, client_context
from benchmarks.rounds import Effort, Workload
from benchmarks.setting import LARGE, PRECOMPRESSED, SMALL

_ANSWER_SECONDS = 10


def ask_once(target: Running, path: str, fields: Mapping[str, str]) -> http.client.HTTPResponse:
    """One request over HTTP/1.1; the answer, its body read.

    Errors: OSError, HTTPException.
    """
    context = client_context(target.setting, "http/1.1")
    connection = http.client.HTTPSConnection("localhost", target.port, context=context, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers=dict(fields))
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def not_modified(target: Running, effort: Effort) -> Mapping[str, float]:
    """Nothing but 304."""
    answer = ask_once(target, SMALL, {})
    validator = answer.headers.get("ETag")
    if not validator:
        raise BenchmarkError("sends no ETag")
    load = Load(
        [SMALL], True, 20, 20, seconds=effort.seconds, headers=[f"if-none-match: {validator}"], not_modified=True
    )
    return {"rate": h2load(target, load).rate}


def part(target: Running, effort: Effort) -> Mapping[str, float]:
    """The middle kilobyte of a large file."""
    wanted = "bytes=5000000-5001023"
    answer = ask_once(target, LARGE, {"Range": wanted})
    if answer.status != 206 or answer.headers.get("Content-Length") != "1024":
        raise BenchmarkError(f"answers a range with {answer.status}, {answer.headers.get('Content-Length')} bytes")
    load = Load([LARGE], True, 20, 20, seconds=effort.seconds, headers=[f"range: {wanted}"])
    return {"rate": h2load(target, load).rate}


def precompressed(target: Running, effort: Effort) -> Mapping[str, float]:
    """A file that lies there as gzip."""
    answer = ask_once(target, PRECOMPRESSED, {"Accept-Encoding": "gzip"})
    if answer.headers.get("Content-Encoding") != "gzip":
        raise BenchmarkError("does not send the compressed file")
    load = Load([PRECOMPRESSED], True, 20, 20, seconds=effort.seconds, headers=["accept-encoding: gzip"])
    return {"rate": h2load(target, load).rate}


_CONDITIONS = frozenset({Ability.HTTP2, Ability.CONDITIONS})
_COMPRESSED = frozenset({Ability.HTTP2, Ability.PRECOMPRESSED})

WORKLOADS = (
    Workload(7, "304 Not Modified, HTTP/2, 20 x 20", not_modified, _CONDITIONS),
    Workload(7, "1 kB range of 10 MB, HTTP/2, 20 x 20", part, _CONDITIONS),
    Workload(7, "precompressed 20 kB, HTTP/2, 20 x 20", precompressed, _COMPRESSED),
)
