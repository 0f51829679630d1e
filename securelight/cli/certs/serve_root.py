"""`securelight certs serve-root`: the authority's certificate for phones and other devices, over plain HTTP.

Has one page and a few files in memory, and answers nothing else; the key is never even read. HTTP without TLS, because
who comes here does not trust us yet: what makes it safe is the fingerprint, which people compare.
"""

from __future__ import annotations

import errno
import io
import re
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import trio

from securelight.cli.certs.serve_root_page import POLICY, page, pairs
from securelight.model.errors import ConfigError
from securelight.model.extras import install_command
from securelight.pki.authority import CERTIFICATE_FILE
from securelight.pki.trust_exports import mobile_config
from securelight.pki.trust_facts import root_facts
from securelight.pki.trust_root import read_root
from securelight.server.sockets import bind, parse_address, who_listens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from securelight.pki.trust_root import Root

BACKLOG: Final = 64
MAXIMUM_CONNECTIONS: Final = 64
"""At a time; a device opens a few."""
MAXIMUM_HEAD_BYTES: Final = 8192
"""Of a request; a phone sends about 500."""
MAXIMUM_DRAINED_BYTES: Final = 65_536
"""That a client may still send while it is being told goodbye."""
EXCHANGE_SECONDS: Final = 15.0
"""For a connection from its first byte to its last."""
CLOSE_SECONDS: Final = 2.0

_REQUEST_LINE: Final = re.compile(rb"(GET|HEAD) (/[!-~]*) HTTP/1\.[01]")
_ANY_REQUEST_LINE: Final = re.compile(rb"[A-Z]{1,20} [!-~]+ HTTP/1\.[01]")

EXAMPLES: Final = """\b
Examples:
  securelight certs serve-root                            this machine alone: to look at the page
  securelight certs serve-root --listen 192.168.1.5:8480  for the network that this address is in
  securelight certs serve-root --listen '*:8480'          for every network, both families

The command prints the addresses that this machine has. It ends by itself after --minutes, or with Ctrl-C.
The terminal shows the fingerprint: compare it with what the device shows, for the page itself is not encrypted.
"""


@click.command(epilog=EXAMPLES, short_help="Show the authority's certificate to phones on the network, with a QR code.")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8480", show_default=True, help="Where to listen.")
@click.option("--minutes", type=click.FloatRange(min=0, max=1440, min_open=True), default=15.0, show_default=True,
              help="End after this time.")  # fmt: skip
@click.option("--certs", type=click.Path(path_type=Path), default=Path("certs"), show_default=True,
              help="The folder of the authority.")  # fmt: skip
@click.option("--qr/--no-qr", default=None, help="Draw the address as a QR code. By default on a terminal.")
def command(*, listen: str, minutes: float, certs: Path, qr: bool | None) -> None:
    """Serve the local authority's certificate, and how to install it, over plain HTTP."""
    root = read_root(certs / CERTIFICATE_FILE)
    answers = contents(root)
    try:
        parse_address(listen)
        sockets = bind(listen, BACKLOG)
    except ConfigError as error:
        raise click.UsageError(f"--listen: {error.what}") from error
    except OSError as error:
        raise ConfigError("--listen", _why_not(listen, error)) from error
    click.echo(announcement(root, sockets, minutes, with_qr=sys.stdout.isatty() if qr is None else qr))
    trio.run(partial(serve, answers, sockets, minutes * 60, click.echo))


def _why_not(listen: str, error: OSError) -> str:
    port = parse_address(listen)[1]
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by {who_listens(port) or 'another process'}; choose another one"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{listen} is no address of this machine; it has {', '.join(lan_addresses()) or 'none but loopback'}"
    return f"{listen} cannot be used: {error.strerror}"


def contents(root: Root) -> dict[bytes, tuple[bytes, bytes]]:
    """Type and body of every path that is answered.

    Errors: CertificateError for a certificate that is no authority's.
    """
    facts = root_facts(root)
    return {
        b"/": (b"text/html; charset=utf-8", page(root, facts)),
        b"/ca.pem": (b"application/x-pem-file", root.pem),
        b"/ca.crt": (b"application/x-x509-ca-cert", root.der),
        b"/ca.mobileconfig": (b"application/x-apple-aspen-config", mobile_config(root)),
    }


def lan_addresses() -> list[str]:
    """This machine's address in the network of its default route, for each family. Nothing is sent to find out."""
    found = []
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return found


def addresses(sockets: Sequence[socket.socket]) -> list[str]:
    """Where others find these sockets, as URLs; those of this machine alone if there are no others."""
    port = sockets[0].getsockname()[1]
    hosts: list[str] = []
    for one in sockets:
        host = str(one.getsockname()[0])
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            family = ":" if host == "::" else "."
            hosts += [address for address in lan_addresses() if family in address] or ["localhost"]
        else:
            hosts.append(host)
    return [f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/" for host in dict.fromkeys(hosts)]


def announcement(root: Root, sockets: Sequence[socket.socket], minutes: float, *, with_qr: bool) -> str:
    """What a person is told once it listens."""
    urls = addresses(sockets)
    port = sockets[0].getsockname()[1]
    local = all(str(one.getsockname()[0]) in ("127.0.0.1", "::1") for one in sockets)
    lines = [
        f"Serving {root.path} (the certificate; never its key) for {minutes:g} minutes. Ctrl-C ends it.",
        "",
        *(f"  {click.style(url, fg='green', bold=True)}" for url in urls),
        "",
        f"  SHA-256 {root.sha256}",
        f"  SHA-1   {pairs(root.sha1)} (Windows shows this one)",
        "  The page is not encrypted: what the device shows before it installs must be this fingerprint.",
    ]
    if local:
        others = [f"[{address}]" if ":" in address else address for address in lan_addresses()]
        wish = f"--listen {others[0]}:{port}" if others else "--listen ADDRESS:PORT, once it is in a network"
        lines += ["", f"  Only this machine can reach it. For devices on the network: {wish}"]
    if with_qr:
        lines += ["", qr_code(urls[0])]
    return "\n".join(lines)


def qr_code(text: str) -> str:
    """`text` as a QR code of block characters, or how to get one where the package that draws it is missing."""
    try:
        import segno  # noqa: PLC0415 - optional
    except ImportError:
        return f"  For a QR code of this address: {install_command('qr')}"
    drawn = io.StringIO()
    segno.make(text, error="m", micro=False).terminal(drawn, compact=True, border=2)
    # Its own colours: on a bright terminal the code would be inside out, which not every phone reads.
    return "\n".join(click.style(line, fg="bright_white", bg="black") for line in drawn.getvalue().splitlines())


async def serve(
    answers: Mapping[bytes, tuple[bytes, bytes]],
    sockets: Sequence[socket.socket],
    seconds: float,
    tell: Callable[[str], None],
) -> None:
    """Answer for so many seconds, or until SIGINT or SIGTERM.

    Args:
        answers: see contents().
        sockets: that listen; closed at the end.
        seconds: until the end.
        tell: is given a line for each file that was fetched.
    """
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in sockets]
    limiter = trio.CapacityLimiter(MAXIMUM_CONNECTIONS)

    async def handle(stream: trio.SocketStream) -> None:
        try:
            limiter.acquire_nowait()
        except trio.WouldBlock:
            await trio.aclose_forcefully(stream)
            return
        try:
            # A peer that vanishes, or is too slow, costs its own connection.
            with trio.move_on_after(EXCHANGE_SECONDS):
                await _exchange(stream, answers, tell)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass
        finally:
            limiter.release()
            await trio.aclose_forcefully(stream)

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, handle, listeners)
            with trio.move_on_after(seconds) as time_is_up:
                async for _signal in signals:
                    break
            nursery.cancel_scope.cancel()
    tell("The time is up." if time_is_up.cancelled_caught else "Stopped.")


async def _exchange(
    stream: trio.SocketStream, answers: Mapping[bytes, tuple[bytes, bytes]], tell: Callable[[str], None]
) -> None:
    head = b""
    while b"\r\n\r\n" not in head and len(head) <= MAXIMUM_HEAD_BYTES:
        received = await stream.receive_some(MAXIMUM_HEAD_BYTES)
        if not received:
            return
        head += received
    response, path = respond(head, answers)
    await stream.send_all(response)
    if path:
        peer = stream.socket.getpeername()[0]
        tell(f"{peer} fetched {path}")
    await stream.send_eof()
    # Or the kernel resets the connection over what was not read, and takes our answer with it.
    drained = 0
    with trio.move_on_after(CLOSE_SECONDS):
        while drained < MAXIMUM_DRAINED_BYTES and (received := await stream.receive_some(8192)):
            drained += len(received)


def respond(head: bytes, answers: Mapping[bytes, tuple[bytes, bytes]]) -> tuple[bytes, str]:
    """The whole response to a request head, and the path if one of `answers` was asked for, else ""."""
    if len(head) > MAXIMUM_HEAD_BYTES:
        return _response(b"431 Request Header Fields Too Large"), ""
    line = head.partition(b"\r\n")[0]
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _ANY_REQUEST_LINE.fullmatch(line):
            return _response(b"405 Method Not Allowed", fields=b"allow: GET, HEAD\r\n"), ""
        return _response(b"400 Bad Request"), ""
    method, target = match.groups()
    path = target.partition(b"?")[0]
    found = answers.get(path)
    if found is None:
        return _response(b"404 Not Found", with_body=method == b"GET"), ""
    kind, body = found
    fields = b"content-security-policy: %b\r\n" % POLICY.encode() if path == b"/" else b""
    return _response(b"200 OK", kind, body, fields, with_body=method == b"GET"), path.decode()


def _response(
    status: bytes, kind: bytes = b"text/plain", body: bytes = b"", fields: bytes = b"", *, with_body: bool = True
) -> bytes:
    body = body or status + b"\n"
    return (
        b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\ncache-control: no-store\r\n"
        b"x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n%b\r\n%b"
        % (status, kind, len(body), fields, body if with_body else b"")
    )
