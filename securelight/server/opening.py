"""The first bytes of a connection: ClientHello, choice of the TLS context, handshake; or plain HTTP by mistake.

The ClientHello is read before any TLS state exists, so that the name in it chooses the context, and a client that
offers no protocol of ours gets the alert that says so (RFC 7301, section 3.2; ALPACA).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from securelight.model.request import Peer, TlsFacts
from securelight.protocol.proxy_protocol import ProxyFault, ProxyHeaderReader, is_proxy_header
from securelight.server.transport import PeerGone, Transport
from securelight.tls.client_hello import Alert, ClientHello, ClientHelloReader, NeedMore, NotTls, PlainHttp, alert
from securelight.tls.identity import alpn_fits
from securelight.tls.session import TlsSession

if TYPE_CHECKING:
    from securelight.protocol.adapter import ProtocolAdapter
    from securelight.server.service import Service
    from securelight.server.tcp_tunnel import TcpRoute

_EXPECTED = TlsFacts(version="TLS", alpn="h2")
"""Before the handshake."""


class Opening:
    """A connection that is not open yet.

    Args:
        service: the listener's shared things.
        peer: who is at the other end.
        started: time.monotonic() of the accept.

    Attributes:
        refused: why the connection ends without a handshake; empty while it does not. The alert, if one fits, is sent.
        peer: who is at the other end, by what a PROXY header says, if there is one.
        route: where the connection goes unopened, with `received`; None while it does not.
        plain_bytes: what came on a connection that speaks plain HTTP.
    """

    __slots__ = (
        "_adapter",
        "_asked_by",
        "_early",
        "_proxied",
        "_reader",
        "_server_name",
        "_service",
        "peer",
        "plain_bytes",
        "received",
        "refused",
        "route",
        "started",
    )

    def __init__(self, service: Service, peer: Peer, started: float) -> None:
        self._service = service
        self.peer = peer
        balancers = service.proxied_from
        self._proxied: ProxyHeaderReader | None = None
        """Reads the PROXY header, while one is due."""
        if balancers is not None and balancers.trusts(peer.address):
            self._proxied = ProxyHeaderReader(service.limits.proxy_protocol_bytes)
        self._early = b""
        """What came behind it."""
        self.route: TcpRoute | None = None
        self.received = b""
        self._adapter: ProtocolAdapter | None = None
        self._reader: ClientHelloReader | None = ClientHelloReader(service.limits.client_hello_bytes)
        self._asked_by = self._server_name = ""
        self.started = started
        self.refused = ""
        self.plain_bytes = b""

    def step(self, transport: Transport) -> bool:
        """Go on with what has arrived; True once the connection is open.

        What TLS has to say last (tickets, the Finished of TLS 1.2) is left to go out with whatever is said first.

        Errors: PeerGone; TlsFault.
        """
        if self._proxied is not None and not self._read_proxy_header(self._proxied, transport):
            return False
        if self._service.identities is None:
            self.plain_bytes, self._early = self._early, b""
            return True
        if not transport.flush():
            return False
        session = transport.session
        if session is not None:
            if not self._feed(session, transport):
                return False
        elif self._hello(transport):
            session = transport.session
            assert session is not None
        else:
            return bool(self.plain_bytes)
        while not session.handshake(self._service.limits):
            if not (transport.send_handshake() and self._feed(session, transport)):
                return False
        return True

    def _feed(self, session: TlsSession, transport: Transport) -> bool:
        """Read for the handshake; False if nothing has come."""
        data = transport.receive_raw()
        if data is None:
            raise PeerGone
        if data:
            session.feed(data)
        return bool(data)

    def _read_proxy_header(self, reader: ProxyHeaderReader, transport: Transport) -> bool:
        """Collect the PROXY header; True once the client is known."""
        while data := transport.receive_raw():
            try:
                header = reader.feed(data)
            except ProxyFault as fault:
                self.refused = f"proxy protocol: {fault}"
                return False
            if header is not None:
                self._proxied = None
                self._early = reader.rest
                return header.source is None or self._is_for(header.source, header.destination)
        if data is None:
            raise PeerGone
        return False

    def _is_for(self, source: tuple[str, int], destination: tuple[str, int] | None) -> bool:
        """From now on the client is `source`; False if it has too many connections."""
        addresses, balancer = self._service.addresses, self.peer
        local = destination or (balancer.local_address, balancer.local_port)
        if why := addresses.admit(source[0]):
            self.refused = f"{why}: {source[0]}"
            return False
        addresses.release(balancer.address, opening=True)
        self.peer = replace(balancer, address=source[0], port=source[1], local_address=local[0], local_port=local[1])
        return True

    def _hello(self, transport: Transport) -> bool:
        """Collect the ClientHello; True once the TLS session exists."""
        while True:
            data: bytes | None = self._early
            if data:
                self._early = b""
            else:
                data = transport.receive_raw()
            if data is None:
                raise PeerGone
            if not data:
                return False
            reader = self._reader
            assert reader is not None
            verdict = reader.feed(data)
            if isinstance(verdict, NeedMore):
                continue
            self._reader = None
            tcp = self._service.tcp
            if isinstance(verdict, ClientHello) and tcp is not None:
                self.route = tcp.find(verdict.server_name)
                if self.route is not None:
                    self.received = bytes(reader.received)
                    return False
            if isinstance(verdict, PlainHttp):
                self.plain_bytes = bytes(reader.received)
            elif isinstance(verdict, NotTls):
                unwanted = is_proxy_header(bytes(reader.received))
                reason = "a PROXY header, and its sender is not in proxy_protocol_from" if unwanted else verdict.reason
                self._refuse(transport, reason, verdict.alert)
            elif not alpn_fits(verdict):
                self._refuse(transport, "no protocol in common", alert(Alert.NO_APPLICATION_PROTOCOL))
            else:
                self._server_name = verdict.server_name
                identities = self._service.identities
                assert identities is not None
                context = identities.select(verdict.server_name)
                self._asked_by = identities.asked_by(context)
                if b"h2" in verdict.alpn:
                    # What the client is going to speak. An engine that is made before the handshake has its large
                    # buffers in fresh memory, which costs nothing until it is written to; made after it, they come to
                    # lie where the handshake has been: 3 kB more for each idle connection.
                    self._adapter = self._service.engines.http2(self.peer.with_tls(_EXPECTED), self._service.limits)
                transport.session = TlsSession(context, self._service.limits)
                transport.session.feed(bytes(reader.received))
                return True
            return False

    def _refuse(self, transport: Transport, reason: str, last_words: bytes) -> None:
        self.refused = reason
        if last_words:
            transport.send(last_words)

    def adapter(self, transport: Transport) -> ProtocolAdapter:
        """The engine for what the handshake settled; its peer says what that was."""
        service, session, peer = self._service, transport.session, self.peer
        if session is not None:
            peer = peer.with_tls(session.facts(self._server_name, self._asked_by))
        if peer.tls.alpn != "h2":
            return service.engines.http1(peer, service.limits)
        if self._adapter is None:
            return service.engines.http2(peer, service.limits)
        self._adapter.peer = peer
        return self._adapter
