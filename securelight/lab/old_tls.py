"""The endpoints that OpenSSL 3 refuses to serve: old versions, dead ciphers, a key that is not the certificate's.

They are served by tlslite-ng (the extra `lab`), which is pure Python and does as it is told. It blocks, so each
connection has a thread, for at most CONNECTION_SECONDS; a cancelled one loses its socket, and so ends.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import socket
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import trio

from securelight.lab.http import head_of, parse_head
from securelight.model.errors import SecurelightError
from securelight.model.extras import install_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from securelight.lab.visit import Visit
    from securelight.lab.world import Chain
    from securelight.pki.forge import Key

AVAILABLE: Final = importlib.util.find_spec("tlslite") is not None
MISSING: Final = "" if AVAILABLE else f"tlslite-ng is not installed ({install_command('lab')})"

CONNECTION_SECONDS: Final = 10.0
MAXIMUM_HEAD_BYTES: Final = 16_384
MAXIMUM_THREADS: Final = 8
"""Connections served at a time; more wait."""


def load() -> None:
    """Import tlslite-ng, if it is there, once and before there are threads: it warns that asyncore is old."""
    if AVAILABLE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            importlib.import_module("tlslite.api")


class PeerError(SecurelightError):
    """The client did not go on, mostly because it refuses what it was shown."""


@dataclass(slots=True)
class OldTls:
    """A page over TLS by tlslite-ng.

    Args:
        chain: what is shown; None for anonymous key exchange.
        settings: attributes of its HandshakeSettings.
        key: signs in place of the chain's own.
        mutate: changes a message, in place, before it is sent.
        authorities: DER of the names of authorities that client certificates are asked for from.
        after: called with the connection when the handshake is over.
    """

    chain: Chain | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    key: Key | None = None
    mutate: Callable[[Any], None] | None = None
    after: Callable[[Any], None] | None = None
    authorities: Sequence[bytes] = ()
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(MAXIMUM_THREADS), init=False)

    async def serve(self, stream: trio.SocketStream, first: bytes, visit: Visit) -> None:
        """See Endpoint; `first` is empty, as these have a port of their own."""
        sock = socket.socket(fileno=socket.dup(stream.socket.fileno()))
        sock.settimeout(CONNECTION_SECONDS)
        try:
            await trio.to_thread.run_sync(self._serve, sock, visit, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            with contextlib.suppress(OSError):  # the client has closed it
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve(self, sock: socket.socket, visit: Visit) -> None:
        import tlslite.errors as errors  # noqa: PLC0415, PLR0402 - an extra

        try:
            self._dialogue(sock, visit)
        except (errors.BaseTLSException, OSError, SyntaxError, ValueError) as error:
            # tlslite raises SyntaxError and ValueError for bytes that do not parse.
            raise PeerError(f"the client did not go on: {error!r}"[:200]) from error

    def _dialogue(self, sock: socket.socket, visit: Visit) -> None:
        from tlslite.handshakesettings import HandshakeSettings  # noqa: PLC0415 - tlslite-ng is an extra
        from tlslite.utils.keyfactory import parsePEMKey  # noqa: PLC0415 - tlslite-ng is an extra
        from tlslite.x509certchain import X509CertChain  # noqa: PLC0415 - tlslite-ng is an extra

        from securelight.pki.forge import key_pem  # noqa: PLC0415 - tlslite-ng is an extra

        connection = _connection_class()(sock)
        connection.mutate = self.mutate
        settings = HandshakeSettings()
        for name, value in self.settings.items():
            assert hasattr(settings, name), name
            setattr(settings, name, value)
        given: dict[str, Any] = {}
        if self.chain is None:
            given["anon"] = True
        else:
            certificates = X509CertChain()
            certificates.parsePemList(self.chain.pem.decode())
            pem = key_pem(self.key or self.chain.key, traditional=False).decode()
            given = {"certChain": certificates, "privateKey": parsePEMKey(pem, private=True)}
        if self.authorities:
            given |= {"reqCert": True, "reqCAs": [bytearray(one) for one in self.authorities]}
        connection.handshakeServer(settings=settings, alpn=[bytearray(b"http/1.1")], **given)
        if self.after is not None:
            self.after(connection)
        received = b""
        while b"\r\n\r\n" not in received:
            data = connection.recv(4096)
            received += bytes(data)
            if not data or len(received) > MAXIMUM_HEAD_BYTES:
                return
        request = parse_head(received)
        if request is not None:
            answer = visit.answer(request, visit)
            connection.sendall(head_of(answer) + answer.body)
        connection.closeSocket = False
        connection.close()


def _connection_class() -> Any:
    from tlslite.tlsconnection import TLSConnection  # noqa: PLC0415 - an extra

    class Connection(TLSConnection):  # type: ignore[misc] # it brings no types
        """With a hand on each message before it is hashed and sent."""

        mutate: Callable[[Any], None] | None = None

        def _sendMsg(self, msg: Any, *arguments: Any, **named: Any) -> Any:  # noqa: N802 - theirs
            if self.mutate is not None:
                self.mutate(msg)
            return super()._sendMsg(msg, *arguments, **named)

        def _queue_message(self, msg: Any) -> Any:
            if self.mutate is not None:
                self.mutate(msg)
            return super()._queue_message(msg)

    return Connection


CERTIFICATE, SERVER_HELLO, ENCRYPTED_EXTENSIONS = 11, 2, 8
COOKIE, ALPN, RENEGOTIATION_INFO = 44, 16, 0xFF01


def add_garbage_certificate(message: Any) -> None:
    """Behind the chain comes something that is no certificate."""
    from tlslite.x509 import X509  # noqa: PLC0415 - an extra

    if getattr(message, "handshakeType", None) == CERTIFICATE:
        garbage = X509()
        garbage.bytes = bytearray(b"this is not a certificate")
        message.cert_chain.x509List.append(garbage)


def _extensions(message: Any) -> list[Any]:
    if getattr(message, "handshakeType", None) not in (SERVER_HELLO, ENCRYPTED_EXTENSIONS):
        return []
    return message.extensions or []


def answer_with_other_protocol(message: Any) -> None:
    """ALPN: the server chooses a protocol that the client did not offer."""
    for extension in _extensions(message):
        if extension.extType == ALPN:
            extension.create([bytearray(b"gopher")])


def ask_for_large_cookie(message: Any) -> None:
    """The HelloRetryRequest has a cookie of 12 kB, which the client has to send back in its second ClientHello."""
    for extension in _extensions(message):
        if extension.extType == COOKIE:
            extension.create(bytearray((12_000).to_bytes(2) + b"\x42" * 12_000))


def leave_out_renegotiation_info(message: Any) -> None:
    """The server does not know secure renegotiation (RFC 5746)."""
    if getattr(message, "handshakeType", None) == SERVER_HELLO and message.extensions:
        message.extensions = [one for one in message.extensions if one.extType != RENEGOTIATION_INFO]


def ask_for_renegotiation(connection: Any) -> None:
    """A HelloRequest (RFC 5246, section 7.4.1.1), of which a client may take no notice."""
    from tlslite.messages import Message  # noqa: PLC0415 - an extra

    for _ in connection._sendMsg(Message(22, bytearray(b"\0\0\0\0")), update_hashes=False):
        pass


def update_keys(connection: Any) -> None:
    """New keys at once (RFC 8446, section 4.6.3), and the client is asked for the same."""
    for _ in connection.send_keyupdate_request(1):
        pass
