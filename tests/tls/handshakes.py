"""Real TLS handshakes in memory: both sides are OpenSSL, no socket between them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Handshake(NamedTuple):
    client: ssl.SSLObject
    server: ssl.SSLObject


def client_context(ca: Path | None = None, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """A client that trusts `ca` alone, and is as strict as newer Pythons are by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if ca is not None:
        context.load_verify_locations(ca)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def handshake(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    server_name: str | None = "localhost",
    session: ssl.SSLSession | None = None,
) -> Handshake:
    """Shake hands; raises the ssl.SSLError of whichever side gives up first, the client's if both do."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server, server_hostname=server_name, session=session)
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    failure: ssl.SSLError | None = None
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for side in (client_side, server_side):
            try:
                if side not in done:
                    side.do_handshake()
                    done.add(side)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                if failure is not None:
                    raise failure from None
                failure = error
        if failure is None and len(done) == 2:
            # The client takes the session tickets in with its first read.
            server_side.write(b"x")
            assert client_side.read(1) == b"x"
            return Handshake(client_side, server_side)
    if failure is not None:
        raise failure
    raise AssertionError("the handshake does not end")


def client_hello(
    server_name: str | None = "example.test",
    alpn: Sequence[str] = ("h2", "http/1.1"),
    context: ssl.SSLContext | None = None,
) -> bytes:
    """The first bytes of a real client."""
    context = context or client_context(alpn=alpn)
    context.check_hostname = server_name is not None
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def certificate_of(handshake: Handshake) -> bytes:
    """What the client was shown, DER."""
    shown = handshake.client.getpeercert(binary_form=True)
    assert shown
    return shown
