"""The servers that are compared: a row each, the configuration of each in a file beside it.

Each is set up as its own documentation recommends for one worker on one core, with the certificate and the files of
the run, an access log in a file, and without limits on how long and how often a connection is used again.
"""

from __future__ import annotations

from benchmarks.peers.from_debian import DEBIAN
from benchmarks.peers.from_pypi import PYPI
from benchmarks.peers.ours import OURS
from benchmarks.peers.peer import Peer

PEERS: dict[str, Peer] = {peer.name: peer for peer in (*OURS, *DEBIAN, *PYPI)}
"""By name, in the order of the tables."""
