"""TLS of one connection, in memory: ciphertext in and out, plaintext out and in. No socket, no waiting.

Owns the BIOs and the bound on ciphertext that brings no plaintext (KeyUpdate and empty-record floods; one
`SSLSocket.recv` would swallow any number of them inside one call). Refuses nothing of its own accord but that.

What OpenSSL writes goes through one BIO for all sessions of the process: a BIO never gives back the memory of the most
that it has held, so one for each would keep that of each connection's largest answer. Every method here that may make
OpenSSL write empties it before it returns, and what it finds belongs to its own session. For one thread only.
"""

from __future__ import annotations

import contextlib
import functools
import re
import ssl
from dataclasses import replace
from time import time

from securelight.model.errors import SecurelightError
from securelight.model.limits import Limits
from securelight.model.request import TlsFacts
from securelight.tls.client_certificate import expired, read_client_certificate

RECORD_BYTES = 16_384
"""The content of one TLS record; OpenSSL returns no more in one read."""

_UNNAMED = re.compile(r"\[[^]]*\] (.*?)(?: \(_ssl\.c:\d+\))?$")
"""How Python words what OpenSSL said when it has no name for it: what is newer than the OpenSSL it was written for."""

_outgoing = ssl.MemoryBIO()


class TlsFault(SecurelightError):
    """The TLS layer of the peer failed: `reason` is OpenSSL's, in lower case words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _reason(error: ssl.SSLError) -> str:
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "client certificate: none was sent, and the site requires one"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"client certificate: {error.verify_message}"
    if error.reason:
        return error.reason.replace("_", " ").lower()
    told = _UNNAMED.match(str(error.args[-1])) if error.args else None
    return told[1] if told else "end of stream"


class TlsSession:
    """One server-side TLS session.

    Args:
        context: the site's, chosen by SNI before the session is made.
        limits: for the bounds on ciphertext.

    Attributes:
        ended: close_notify was said; nothing can be sent any more.
        established: the handshake is done.
        holds_input: what was fed has not been decrypted to its end.
        output: what the session has to say by itself, and has not said with `encrypt`.
    """

    __slots__ = ("_bare", "_bound", "_incoming", "_tls", "ended", "established", "holds_input", "output")

    def __init__(self, context: ssl.SSLContext, limits: Limits) -> None:
        self._incoming = ssl.MemoryBIO()
        self.output = b""
        self._tls = context.wrap_bio(self._incoming, _outgoing, server_side=True)
        self._bound = limits.handshake_bytes
        self._bare = 0
        self.ended = False
        self.established = False
        self.holds_input = False

    def feed(self, ciphertext: bytes | memoryview) -> None:
        """Take in what came from the socket.

        Errors: TlsFault once too much has come without a byte of plaintext.
        """
        self._bare += len(ciphertext)
        if self._bare > self._bound:
            raise self._flood()
        self._incoming.write(ciphertext)
        self.holds_input = True

    def _flood(self) -> TlsFault:
        return TlsFault("flood: ciphertext without content" if self.established else "flood: handshake bytes")

    def handshake(self, limits: Limits) -> bool:
        """Go on with the handshake; True once it is done.

        Errors: TlsFault; what OpenSSL has to say to the peer about it is in `take_output`.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsFault(_reason(error)) from error
        finally:
            self.output += _outgoing.read()
        if self._tls.session_reused and self._certificate_expired():
            raise TlsFault("client certificate: it has expired since the session was opened")
        self.established = True
        self._bare = 0
        self._bound = limits.ciphertext_without_plaintext_bytes
        return True

    def _certificate_expired(self) -> bool:
        """OpenSSL looks at no date when a session is resumed."""
        certificate = self._tls.getpeercert(binary_form=True)
        return bool(certificate) and expired(certificate or b"", time())

    def decrypt(self, ciphertext: bytes | memoryview, most: int = RECORD_BYTES) -> bytes | None:
        """Plaintext of one record; b"" if there is none now; None once the peer has said close_notify.

        Args:
            ciphertext: is fed before; empty to go on with what is held.
            most: how many bytes of the record; the rest of it is held.

        Errors: TlsFault.
        """
        if ciphertext:
            self._bare += len(ciphertext)
            if self._bare > self._bound:
                raise self._flood()
            self._incoming.write(ciphertext)
            self.holds_input = True
        try:
            data = self._tls.read(most)
        except ssl.SSLWantReadError:
            self.holds_input = False
            return b""
        except ssl.SSLError as error:
            raise TlsFault(_reason(error)) from error
        finally:
            if _outgoing.pending:  # the answer to a KeyUpdate, or an alert
                self.output += _outgoing.read()
        self._bare = 0
        self.holds_input = self._incoming.pending > 0 or (len(data) == most and self._tls.pending() > 0)
        return data or None

    def encrypt(self, plaintext: bytes | memoryview, *, last: bool = False) -> bytes:
        """The ciphertext of `plaintext`, in records of RECORD_BYTES, after whatever else the session has to say.

        Args:
            last: close_notify follows at once; `close` has nothing more to do.

        Errors: TlsFault.
        """
        try:
            self._tls.write(plaintext)
            if last:
                self._end()
        except BaseException as error:
            self.output += _outgoing.read()
            if isinstance(error, ssl.SSLError):
                raise TlsFault(_reason(error)) from error
            raise
        if self.output:
            return self.take_output() + _outgoing.read()
        return _outgoing.read()

    def take_output(self) -> bytes:
        """Give `output` and empty it."""
        output, self.output = self.output, b""
        return output

    def close(self) -> None:
        """Say close_notify, if the session can still speak and has not said it yet."""
        if not self.ended:
            self._end()
            self.output += _outgoing.read()

    def _end(self) -> None:
        self.ended = True
        with contextlib.suppress(ssl.SSLError, ValueError, OSError):
            self._tls.unwrap()  # the peer's has not come yet, or the session is broken: both are fine when closing

    def facts(self, server_name: str, asked_by: str = "") -> TlsFacts:
        """What the handshake settled.

        Args:
            server_name: the SNI of the ClientHello.
            asked_by: the site for which a client certificate was asked for; empty if none was.
        """
        tls = self._tls
        cipher = tls.cipher()
        certificate = tls.getpeercert(binary_form=True) if asked_by else None
        facts = _common_facts(
            tls.version() or "", cipher[0] if cipher else "", server_name, tls.selected_alpn_protocol() or "",
            bool(tls.session_reused), asked_by,
        )  # fmt: skip
        return replace(facts, client_certificate=read_client_certificate(certificate)) if certificate else facts


@functools.lru_cache(maxsize=128)
def _common_facts(version: str, cipher: str, server_name: str, alpn: str, resumed: bool, asked_by: str) -> TlsFacts:
    """One object for all connections of which these are true: a third of a kilobyte less for each."""
    return TlsFacts(
        version=version, cipher=cipher, server_name=server_name, alpn=alpn, resumed=resumed, asked_by=asked_by
    )
