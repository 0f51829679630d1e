"""Every bound of the server: its default, unit, reason, and what peers use.

All of them may be set in `[server.limits]`. A limit that can be exceeded by a peer names what that peer gets. The
defaults are at least as tight as the tightest sane peer. `docs/limits.md` is generated from this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


def _limit(default: Any, unit: str, reason: str, peers: str = "-", *, minimum: float = 1) -> Any:
    return field(default=default, metadata={"unit": unit, "reason": reason, "peers": peers, "minimum": minimum})


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds in force for one server; immutable, shared by everything."""

    # Connections
    connections: int = _limit(
        10_000,
        "connections a worker",
        "memory: about 40 kB each; beyond it, accepting waits",
        "nginx 512, lighttpd fds/2",
    )
    connections_per_address: int = _limit(
        2_048,
        "connections a worker",
        "one client does not take all of `connections`; IPv6 by /64, trusted proxies exempt; closed at once. Homes and "
        "offices behind one address need tens, carriers' NATs hundreds",
        "none by default",
    )
    handshakes_per_address: int = _limit(
        1_024,
        "connections a worker",
        "of those, still in the handshake: each holds up to 70 kB; closed at once. A whole office that comes back "
        "after a restart has hundreds",
        "none by default",
    )
    accepts_per_turn: int = _limit(16, "accepts", "a flood of new clients does not starve those that are connected")
    # TLS
    client_hello_bytes: int = _limit(
        16_384, "bytes", "a ClientHello with post-quantum shares is under 3 kB; closes the connection", "OpenSSL 131 kB"
    )
    handshake_bytes: int = _limit(
        131_072, "bytes", "all ciphertext before the handshake is done, client certificate chains included"
    )
    handshake_seconds: float = _limit(10.0, "seconds in all", "a half-open handshake holds 70 kB", "nginx 60, Go none")
    ciphertext_without_plaintext_bytes: int = _limit(
        32_768,
        "bytes",
        "KeyUpdate and empty-record floods; a whole record is at most 16.6 kB",
        "OpenSSL counts 32 updates",
    )
    # Request heads
    request_head_seconds: float = _limit(
        20.0,
        "seconds in all",
        "slow headers: a total, so that a trickle does not live for ever; 408",
        "nginx 60, Apache 20-40",
    )
    request_head_bytes: int = _limit(
        32_768, "bytes", "request line and fields together, decoded, with 32 a field on HTTP/2; 431",
        "lighttpd 8 kB a field, 64 kB a list; nginx 32 kB; Caddy 16 kB cut",
    )  # fmt: skip
    request_target_bytes: int = _limit(
        8_192, "bytes", "RFC 9112 section 3 asks for at least 8000; 414", "nginx 8 kB, Apache 8190"
    )
    request_fields: int = _limit(
        100, "fields", "HTTP/2 bomb (CVE-2026-49975); each cookie crumb counts; 431", "Apache 100, h2o 100, nginx 1000"
    )
    requests_per_connection: int = _limit(
        100_000, "requests", "long-lived connections reach new workers some day", "nginx 1000, lighttpd 1000"
    )
    # Bodies
    request_body_bytes: int = _limit(
        1 << 30,
        "bytes",
        "an upload of this size still runs in constant memory; 413",
        "nginx 1 MiB, Caddy none",
        minimum=0,
    )
    request_body_buffer_bytes: int = _limit(
        65_536,
        "bytes a stream",
        "what is held of a body that its handler has not asked for yet; also the HTTP/2 window",
    )
    upload_window_bytes: int = _limit(
        262_144,
        "bytes a stream",
        "the same on HTTP/2 for applications, which take bodies as they come; upload speed",
    )
    response_buffer_bytes: int = _limit(
        65_536,
        "bytes a stream",
        "what is held of a response that the client has not taken",
    )
    body_minimum_bytes_per_second: int = _limit(
        250, "bytes a second", "slow uploads and slow reads, measured after a grace of body_grace_seconds",
        "Apache 500 both ways, others none", minimum=0,
    )  # fmt: skip
    body_grace_seconds: float = _limit(20.0, "seconds", "before the minimum rate is asked for; phones change cells")
    drain_body_bytes: int = _limit(
        65_536, "bytes", "of an unread HTTP/1.1 request body that is read and dropped to keep a connection", "Go 256 kB"
    )
    chunk_extension_bytes: int = _limit(
        256, "bytes a chunk line", "nothing uses extensions; CVE-2023-39326; 400", "lighttpd 1024, Twisted 4096"
    )
    chunk_overhead_bytes: int = _limit(
        4_096, "bytes a body", "all chunk lines together beyond twice the bytes of data: one-byte-chunk abuse; 400",
        "Go 16 kB beyond the same ratio",
    )  # fmt: skip
    trailer_bytes: int = _limit(8_192, "bytes", "trailer fields of one request", "Go 4 kB")
    # Time
    idle_seconds: float = _limit(
        60.0, "seconds", "a connection without an open request", "nginx 75, lighttpd 5, Caddy 300"
    )
    write_stall_seconds: float = _limit(
        30.0, "seconds", "no byte taken by the client while we have bytes for it, zero HTTP/2 windows included",
        "nginx 60, lighttpd 360",
    )  # fmt: skip
    closing_seconds: float = _limit(
        2.0, "seconds", "to hear the end of the client after close_notify", "nginx lingering 5"
    )
    closing_bytes: int = _limit(
        8_388_608,
        "bytes",
        "read and dropped while closing, so that a client in the middle of an upload sees our answer",
        "nginx by time alone",
    )
    graceful_stop_seconds: float = _limit(
        10.0, "seconds", "for open requests at a stop or after a reload; then they are cut", "lighttpd 8, Go none"
    )
    worker_start_seconds: float = _limit(
        30.0, "seconds", "importing applications and their startup; a start, or a reload, that takes longer has failed"
    )
    handler_seconds: float = _limit(
        3600.0, "seconds", "one application request in all, streaming included; 504 if nothing was answered"
    )
    # HTTP/2
    concurrent_streams: int = _limit(
        100,
        "streams a connection",
        "RFC 9113 section 6.5.2 asks for 100; REFUSED_STREAM",
        "nginx 128, lighttpd 8, Go 250",
    )
    stream_resets: int = _limit(
        100, "resets in hand", "rapid reset, MadeYouReset: a bucket of this size, refilled by stream_resets_per_second",
        "nghttp2 1000 + 33/s, lighttpd 16 in 2 s, nginx 128",
    )  # fmt: skip
    stream_resets_per_second: float = _limit(10.0, "resets a second", "the refill of stream_resets", "nghttp2 33")
    control_frames: int = _limit(
        400, "frames in hand", "PING, SETTINGS, PRIORITY, unknown, WINDOW_UPDATE beyond need, empty DATA: a bucket",
        "nginx 10000 frames, nghttp2 1000 acks, Go 10000",
    )  # fmt: skip
    control_frames_per_second: float = _limit(100.0, "frames a second", "the refill of control_frames")
    settings_entries: int = _limit(32, "entries a frame", "nobody has more settings", "nghttp2 32")
    continuation_frames: int = _limit(
        8, "frames a head", "CVE-2024-27316: counted, also empty ones; ENHANCE_YOUR_CALM", "nghttp2 8, lighttpd 32"
    )
    connection_window_bytes: int = _limit(1 << 20, "bytes", "upload speed; memory stays bounded by the stream windows")
    # Upstreams: servers behind us
    upstream_head_bytes: int = _limit(
        32_768, "bytes", "the head of a response from behind; 502", "nginx 4-8 kB, HAProxy 16 kB, Go 1 MB"
    )
    upstream_fields: int = _limit(200, "fields", "of a response from behind; 502", "HAProxy 101, Apache 100")
    proxy_protocol_bytes: int = _limit(
        4_096, "bytes", "one PROXY header with its TLVs, from a balancer in front of us", "HAProxy 16 kB, nginx 4 kB"
    )
    upstream_buffer_bytes: int = _limit(
        65_536, "bytes a stream", "one read from behind; more is read when the client has taken it", "nginx 64 kB"
    )
    # WebSocket
    websocket_message_bytes: int = _limit(
        1 << 20, "bytes", "one message, inflated and put together; closed with 1009", "websockets 1 MiB, uvicorn 16 MiB"
    )
    websocket_message_frames: int = _limit(
        1_024, "frames", "of one message; the empty ones would cost a client nothing; closed with 1008"
    )
    websocket_ping_seconds: float = _limit(
        20.0, "seconds", "of silence, after which a ping is sent; as long again, and it is over (1011)",
        "websockets 20 and 20, nginx cuts at 60",
    )  # fmt: skip
    websocket_close_seconds: float = _limit(
        5.0, "seconds", "for the client to answer our Close, and for an application to end when its client has gone"
    )
    # Turns of the reactor
    requests_per_turn: int = _limit(64, "requests", "one greedy connection does not hold the worker")
    receive_bytes_per_turn: int = _limit(65_536, "bytes", "the same, for reading")
    receive_seconds_per_turn: float = _limit(
        0.002, "seconds", "costly input (tiny chunks, header tables that are refilled): at most a read more in a turn",
        minimum=0,
    )  # fmt: skip
    send_bytes_per_turn: int = _limit(262_144, "bytes", "the same, for writing; larger slices are no faster")
    # Files
    content_cache_bytes: int = _limit(
        67_108_864, "bytes a worker", "files kept whole with their ready heads", minimum=0
    )
    content_cache_file_bytes: int = _limit(
        262_144, "bytes", "the largest file that is kept in the content cache at once", minimum=0
    )
    content_cache_popular_file_bytes: int = _limit(
        16_777_216, "bytes", "the largest that is kept once it is asked for again, while there is room for it",
        minimum=0,
    )  # fmt: skip
    open_files: int = _limit(
        512, "descriptors a worker", "status and descriptor cache of larger files", "nginx off by default"
    )
    ranges: int = _limit(
        16, "ranges", "more are ignored and the whole file is sent; CVE-2011-3192", "nginx and Apache 200"
    )
    # Engine
    rewrites: int = _limit(10, "rewrites a request", "a rewrite loop ends in a 500 that names the rule", "nginx 10")
    worker_threads: int = _limit(8, "threads a worker", "cold file reads and applications' blocking calls")
    application_threads: int = _limit(
        16, "threads a worker", "WSGI requests at a time; a thread that never returns cannot be killed", "waitress 4"
    )
    application_wait_seconds: float = _limit(10.0, "seconds", "for one of application_threads to become free; 503")


def describe() -> list[tuple[str, Any, str, str, str]]:
    """(name, default, unit, reason, peers) of each limit, in order; for `docs/limits.md` and `check --explain`."""
    return [
        (item.name, item.default, item.metadata["unit"], item.metadata["reason"], item.metadata["peers"])
        for item in fields(Limits)
    ]


def faults(limits: Limits) -> list[tuple[str, str]]:
    """(name, what is wrong) of each limit below its minimum."""
    return [
        (item.name, f"must be at least {item.metadata['minimum']:g} {item.metadata['unit']}")
        for item in fields(Limits)
        if getattr(limits, item.name) < item.metadata["minimum"]
    ]
