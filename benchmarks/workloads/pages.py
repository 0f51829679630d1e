"""Group 3: a 10 kB file, and a page with its assets, asked for with the fields that a browser sends.

h2load asks for the HTML and the assets of a page in order, as many at once as a browser would: all on HTTP/2, six
connections with one each on HTTP/1.1. It does not wait for the HTML before it asks for the assets, as a browser must.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.loads import Load, h2load
from benchmarks.peers.peer import Ability
from benchmarks.processes import Running
from benchmarks.rounds import Effort, Measure, Metric, Workload
from benchmarks.setting import PAGE, TEN
from benchmarks.workloads.small_files import by_h2load

PAGES = (Metric("pages", "pages/s"),)
BROWSER_FIELDS = (
    "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36",
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-language: en-GB,en;q=0.9,de;q=0.8",
    "sec-fetch-dest: script",
    "sec-fetch-mode: no-cors",
    "sec-fetch-site: same-origin",
    "cookie: session=4bf92f3577b34da6a3ce929d0e0e4736; theme=dark",
)


def page(*, http2: bool, connections: int, streams: int) -> Measure:
    """Whole pages, as fast as it goes."""

    def measure(target: Running, effort: Effort) -> Mapping[str, float]:
        load = Load(PAGE, http2, connections, streams, seconds=effort.seconds, headers=BROWSER_FIELDS)
        return {"pages": h2load(target, load).rate / len(PAGE)}

    return measure


_SMALL_H2, _SMALL_H1 = frozenset({Ability.SMALL_FILES, Ability.HTTP2}), frozenset({Ability.SMALL_FILES, Ability.HTTP1})
_H2, _H1 = frozenset({Ability.FILES, Ability.HTTP2}), frozenset({Ability.FILES, Ability.HTTP1})

WORKLOADS = (
    Workload(3, "HTTP/2, 10 kB, 20 x 20", by_h2load(TEN, http2=True, connections=20, streams=20), _SMALL_H2),
    Workload(3, "HTTP/1.1, 10 kB, 20 connections", by_h2load(TEN, http2=False, connections=20), _SMALL_H1),
    Workload(3, "a page of 21 files, HTTP/2", page(http2=True, connections=4, streams=21), _H2, PAGES),
    Workload(3, "a page of 21 files, HTTP/1.1", page(http2=False, connections=24, streams=1), _H1, PAGES),
)
