"""The endpoints that OpenSSL serves: a chain, a context, and what happens around the handshake."""

from __future__ import annotations

import shutil
import ssl
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from securelight.lab.http import Finish, serve_http1, serve_http2
from securelight.lab.tls_stream import AS_IT_COMES, BrokenOffError, Ending, Shape, TlsStream, end
from securelight.pki.forge import diffie_hellman_pem

if TYPE_CHECKING:
    from collections.abc import Sequence

    import trio

    from securelight.lab.visit import Answer, Request, Visit
    from securelight.lab.world import Chain

HTTP2, HTTP1 = "h2", "http/1.1"
BOTH: Final = (HTTP2, HTTP1)
Version = Literal["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"]


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What an OpenSSL context is to do.

    Args:
        versions: lowest and highest.
        ciphers: of TLS 1.2 and below, in OpenSSL's spelling.
        alpn: protocols offered; none at all if empty.
        curve: the only group there is, if it is to be one alone.
        dh: prime for finite field Diffie-Hellman with the generator 2.
        tickets: whether sessions can be resumed.
        authorities: PEM; set where client certificates are asked for.
        revocations: PEM of a revocation list for these.
        required: whether a client certificate is needed.
    """

    versions: tuple[Version, Version] = ("TLSv1_2", "TLSv1_3")
    ciphers: str = ""
    alpn: Sequence[str] = BOTH
    curve: str = ""
    dh: int = 0
    tickets: bool = True
    authorities: bytes = b""
    revocations: bytes = b""
    required: bool = True


DEFAULTS: Final = ContextSettings()


def make_context(chain: Chain | None, settings: ContextSettings = DEFAULTS) -> ssl.SSLContext:
    """An OpenSSL context, at security level 0: whatever the client takes, the server does.

    Errors: ssl.SSLError, ValueError where this OpenSSL was built without what is asked for.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(f"{settings.ciphers or 'DEFAULT'}:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that TLS 1.0 is a bad idea is the point
        context.minimum_version = ssl.TLSVersion[settings.versions[0]]
        context.maximum_version = ssl.TLSVersion[settings.versions[1]]
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    if settings.curve:
        context.set_ecdh_curve(settings.curve)
    if not settings.tickets:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    directory = Path(tempfile.mkdtemp(prefix="securelight-lab-"))  # 0700; OpenSSL reads chains from files alone
    try:
        if chain is not None:
            (directory / "chain.pem").write_bytes(chain.pem)
            (directory / "key.pem").write_bytes(chain.key_pem)
            context.load_cert_chain(directory / "chain.pem", directory / "key.pem")
        if settings.dh:
            (directory / "dh.pem").write_bytes(diffie_hellman_pem(settings.dh, 2))
            context.load_dh_params(str(directory / "dh.pem"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if settings.authorities:
        context.load_verify_locations(cadata=settings.authorities.decode())
        context.verify_mode = ssl.CERT_REQUIRED if settings.required else ssl.CERT_OPTIONAL
        if settings.revocations:
            _load_revocations(context, settings.revocations)
    return context


def _load_revocations(context: ssl.SSLContext, pem: bytes) -> None:
    with tempfile.NamedTemporaryFile(prefix="securelight-lab-") as file:
        file.write(pem)
        file.flush()
        context.load_verify_locations(file.name)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


@dataclass(slots=True)
class Https:
    """A page over TLS.

    Args:
        chain: what is shown.
        settings: of the context.
        shape: of the handshake.
        finish: how an HTTP/1.1 answer ends.
        record_bytes: size of its records.
        fresh_context: a context for each connection, so that no ticket is ever taken back.
    """

    chain: Chain | None
    settings: ContextSettings = DEFAULTS
    shape: Shape = AS_IT_COMES
    finish: Finish = "right"
    record_bytes: int = 16_384
    fresh_context: bool = False
    _context: ssl.SSLContext | None = field(default=None, init=False)

    def prepare(self) -> ssl.SSLContext:
        """The context, made at the first call. Errors: see make_context."""
        if self._context is None or self.fresh_context:
            self._context = make_context(self.chain, self.settings)
        return self._context

    async def serve(self, stream: trio.SocketStream, first: bytes, visit: Visit) -> None:
        """See Endpoint."""
        tls = TlsStream(stream, self.prepare(), first, self.shape)
        try:
            await tls.handshake()
        except BrokenOffError:
            return

        def answer(request: Request) -> Answer:
            return visit.answer(request, visit)

        shown = tls.tls.getpeercert()
        if shown:
            visit.peer_certificate = _common_name(shown) or "one without a name"
        if tls.tls.selected_alpn_protocol() == HTTP2:
            await serve_http2(tls, answer)
        else:
            await serve_http1(tls, answer, finish=self.finish, record_bytes=self.record_bytes)


def _common_name(shown: dict[str, Any]) -> str:
    """Of a certificate as ssl describes it; "" if it has none."""
    parts: list[str] = [value for entry in shown.get("subject", ()) for kind, value in entry if kind == "commonName"]
    return parts[0] if parts else ""


@dataclass(frozen=True, slots=True)
class Words:
    """Fixed bytes in place of TLS.

    Args:
        words: what is said.
        listen: whether the client speaks first.
        ending: what comes after them.
    """

    words: bytes
    listen: bool = True
    ending: Ending = "close"

    async def serve(self, stream: trio.SocketStream, first: bytes, visit: Visit) -> None:
        """See Endpoint."""
        if self.listen and not first:
            await stream.receive_some(16_384)
        if self.words:
            await stream.send_all(self.words)
        await end(stream, self.ending)
