"""Servers whose certificate is fine and whose manners are not: slow, silent, in pieces, gone in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from securelight.lab.case import Case, Verdict
from securelight.lab.endpoints import HTTP1, HTTP2, ContextSettings, Version, Words
from securelight.lab.families.build import page
from securelight.lab.old_tls import (
    MISSING,
    OldTls,
    answer_with_other_protocol,
    ask_for_renegotiation,
    leave_out_renegotiation_info,
    update_keys,
)  # fmt: skip
from securelight.lab.tls_stream import Ending, Shape
from securelight.tls.client_hello import Alert, alert

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.lab.case import Endpoint
    from securelight.lab.world import World

ACCEPT, REFUSE, EITHER = Verdict.ACCEPT, Verdict.REFUSE, Verdict.EITHER
ALERTS, RECORDS, CLOSING = "RFC 8446, section 6", "RFC 8446, section 5.1", "RFC 8446, section 6.1"
DEADLINE: Final = "no standard: a client without a deadline waits for ever"
ALPN: Final = "RFC 7301, section 3.2"

HANDSHAKE_FAILURE: Final = 40
WARNING_UNRECOGNIZED_NAME: Final = bytes((0x15, 3, 3, 0, 2, 1, 112))


def _versions(version: Version, **more: Any) -> ContextSettings:
    return ContextSettings(versions=(version, version), **more)


def _stops(version: Version, records: int, ending: Ending, *, half: bool = False) -> Callable[[World, str], Endpoint]:
    return page(settings=_versions(version), shape=Shape(records=records, half=half, ending=ending))


def _say(words: bytes, ending: Ending = "close", *, listen: bool = True) -> Callable[[World, str], Endpoint]:
    return lambda world, host: Words(words, listen=listen, ending=ending)


_STAGES: Final[tuple[tuple[str, str, Version, int, bool], ...]] = (
    ("inside-server-hello", "in the middle of its ServerHello", "TLSv1_3", 0, True),
    ("after-server-hello", "after its ServerHello (TLS 1.3)", "TLSv1_3", 1, False),
    ("after-encrypted-extensions", "after its EncryptedExtensions (TLS 1.3)", "TLSv1_3", 3, False),
    ("after-certificate", "after its Certificate (TLS 1.3)", "TLSv1_3", 4, False),
    ("tls12-after-server-hello", "after its ServerHello (TLS 1.2)", "TLSv1_2", 1, False),
    ("tls12-after-certificate", "after its Certificate (TLS 1.2)", "TLSv1_2", 2, False),
    ("tls12-inside-key-exchange", "in the middle of its ServerKeyExchange (TLS 1.2)", "TLSv1_2", 2, True),
)

CASES: Final = (
    Case("handshakes/no-alpn", "the server knows no ALPN", ACCEPT, "RFC 7301",
         page(settings=ContextSettings(alpn=())), own_port=True),
    Case("handshakes/http2-only", "HTTP/2 alone", EITHER, "RFC 9113, section 3.2",
         page(settings=ContextSettings(alpn=(HTTP2,))), own_port=True,
         advice="Without HTTP/2 in the client's offer, this server goes on without ALPN, in HTTP/1.1."),
    Case("handshakes/http1-only", "nothing wrong: HTTP/1.1 alone", ACCEPT, ALPN,
         page(settings=ContextSettings(alpn=(HTTP1,))), own_port=True),
    Case("handshakes/alpn-refused", "the alert no_application_protocol, whatever is offered", REFUSE, ALPN,
         _say(alert(Alert.NO_APPLICATION_PROTOCOL)), own_port=True),
    Case("handshakes/alpn-mismatch", "a protocol is chosen that the client did not offer", REFUSE, ALPN,
         lambda world, host: OldTls(world.leaf(host), {"minVersion": (3, 3)}, mutate=answer_with_other_protocol),
         own_port=True, not_offered=MISSING),
    Case("handshakes/tiny-records", "answers come in records of one byte", ACCEPT, RECORDS, page(record_bytes=1),
         own_port=True),
    Case("handshakes/fragmented", "handshake messages come in records of one byte (TLS 1.2)", EITHER, RECORDS,
         page(settings=_versions("TLSv1_2"), shape=Shape(fragment_bytes=1)), own_port=True,
         advice="Allowed, and some clients count it as an attack."),
    Case("handshakes/fragmented-64", "handshake messages come in records of 64 bytes (TLS 1.2)", ACCEPT, RECORDS,
         page(settings=_versions("TLSv1_2"), shape=Shape(fragment_bytes=64)), own_port=True),
    Case("handshakes/tiny-segments", "the handshake comes in TCP segments of 16 bytes", ACCEPT, "RFC 9293",
         page(shape=Shape(segment_bytes=16)), own_port=True),
    Case("handshakes/slow", "the handshake begins after a second", ACCEPT, DEADLINE,
         page(shape=Shape(delay_seconds=1.0)), own_port=True),
    Case("handshakes/silent", "the server accepts, and never says a word", REFUSE, DEADLINE,
         _say(b"", "hang"), own_port=True),
    *(Case(f"handshakes/hangs-{label}", f"hangs {words}", REFUSE, DEADLINE,
           _stops(version, records, "hang", half=half), own_port=True)
      for label, words, version, records, half in _STAGES),
    *(Case(f"handshakes/closes-{label}", f"closes {words}", REFUSE, CLOSING,
           _stops(version, records, "close", half=half), own_port=True)
      for label, words, version, records, half in _STAGES),
    Case("handshakes/closes-at-once", "closes without a word", REFUSE, CLOSING, _say(b"", listen=False),
         own_port=True),
    Case("handshakes/closes-after-client-hello", "closes after the ClientHello", REFUSE, CLOSING, _say(b""),
         own_port=True),
    Case("handshakes/resets", "resets the connection after the ClientHello", REFUSE, "RFC 9293", _say(b"", "reset"),
         own_port=True),
    Case("handshakes/alert-handshake-failure", "the alert handshake_failure", REFUSE, ALERTS,
         _say(alert(HANDSHAKE_FAILURE)), own_port=True),
    Case("handshakes/alert-internal-error", "the alert internal_error", REFUSE, ALERTS,
         _say(alert(Alert.INTERNAL_ERROR)), own_port=True),
    Case("handshakes/alert-unrecognized-name", "the alert unrecognized_name, fatal", REFUSE, "RFC 6066, section 3",
         _say(alert(Alert.UNRECOGNIZED_NAME)), own_port=True),
    Case("handshakes/warning-unrecognized-name", "the alert unrecognized_name as a warning, then all is well (TLS 1.2)",
         EITHER, "RFC 6066, section 3",
         page(settings=_versions("TLSv1_2"), shape=Shape(before=WARNING_UNRECOGNIZED_NAME)), own_port=True,
         advice="RFC 6066: a client should not rely on it. Java before 8u161 gave up here."),
    Case("handshakes/plain-http", "HTTP without TLS on the port", REFUSE, "RFC 9110, section 4.2.2",
         _say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), own_port=True),
    Case("handshakes/other-protocol", "another protocol on the port, which speaks first", REFUSE, RECORDS,
         _say(b"SSH-2.0-lab\r\n", listen=False), own_port=True),
    Case("handshakes/record-too-long", "a record that is longer than allowed", REFUSE, RECORDS,
         _say(b"\x16\x03\x03\xff\xff" + b"\0" * 20_000), own_port=True),
    Case("handshakes/unknown-record-type", "a record of a type that does not exist", REFUSE, RECORDS,
         _say(b"\x63\x03\x03\x00\x04\x00\x00\x00\x00"), own_port=True),
    Case("handshakes/empty-records", "nothing but empty handshake records, without end", REFUSE, RECORDS,
         _say(b"\x16\x03\x03\x00\x00" * 1000, "hang"), own_port=True),
    Case("handshakes/no-close-notify", "a complete answer, and no close_notify", ACCEPT, CLOSING,
         page(finish="no notify", settings=ContextSettings(alpn=(HTTP1,))), own_port=True,
         advice="Content-Length was reached, so nothing can be missing."),
    Case("handshakes/truncated", "half of an answer whose length only its end would tell, and no close_notify", REFUSE,
         "RFC 9110, section 8.6; RFC 9112, section 9.8",
         page(finish="truncated", settings=ContextSettings(alpn=(HTTP1,))), own_port=True,
         advice="The truncation attack that close_notify is for."),
    Case("handshakes/body-too-short", "an answer that ends before its Content-Length", REFUSE, "RFC 9112, section 8",
         page(finish="short", settings=ContextSettings(alpn=(HTTP1,))), own_port=True),
    Case("handshakes/no-tickets", "sessions cannot be resumed", ACCEPT, "RFC 8446, section 4.6.1",
         page(settings=ContextSettings(tickets=False)), own_port=True),
    Case("handshakes/tickets-refused", "tickets are handed out, and never taken back", ACCEPT,
         "RFC 8446, section 4.6.1", page(fresh_context=True), own_port=True),
    Case("handshakes/renegotiation-asked", "the server asks for renegotiation (TLS 1.2)", EITHER,
         "RFC 5246, section 7.4.1.1", lambda world, host: OldTls(
             world.leaf(host), {"minVersion": (3, 3), "maxVersion": (3, 3)}, after=ask_for_renegotiation),
         own_port=True, not_offered=MISSING, advice="A client may say no, take no notice, or leave."),
    Case("handshakes/no-secure-renegotiation", "the server does not know secure renegotiation (TLS 1.2)", EITHER,
         "RFC 5746, section 4.1", lambda world, host: OldTls(
             world.leaf(host), {"minVersion": (3, 3), "maxVersion": (3, 3)}, mutate=leave_out_renegotiation_info),
         own_port=True, not_offered=MISSING, advice="OpenSSL 3 refuses; browsers never renegotiate."),
    Case("handshakes/key-update", "the server changes its keys at once, and asks for the client's", ACCEPT,
         "RFC 8446, section 4.6.3", lambda world, host: OldTls(
             world.leaf(host), {"minVersion": (3, 4)}, after=update_keys), own_port=True, not_offered=MISSING),
)  # fmt: skip
