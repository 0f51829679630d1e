"""Accept-Encoding fields: what is chosen is available."""

from __future__ import annotations

from securelight.files.accept_encoding import choose_coding

AVAILABLE = (b"zstd", b"br", b"gzip", b"identity")
SEEDS = [b"gzip, br;q=0.5", b"*;q=0", b"identity;q=0, zstd"]


def fuzz(data: bytes) -> None:
    chosen = choose_coding(data, AVAILABLE)
    assert chosen is None or chosen in AVAILABLE
