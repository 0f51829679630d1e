"""The variables that CGI (RFC 3875, section 4.1) and its kin give an application, and the script that a path names.

Refused: fields whose names could be taken for those of others once dashes are underscores, `Proxy` (it would become
HTTP_PROXY), fields about the connection, and fields with which a client could pass for somebody else; paths that name
no script below the root. A script is a regular file whose name, and whose real name, have one of the suffixes: the
rest of the path is PATH_INFO only behind such a file, so that `/upload.jpg/x.php` runs nothing.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from securelight.files.safe_path import relative_path
from securelight.model.forwarded import is_forwarding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from securelight.files.safe_path import DocumentRoot
    from securelight.model.request import Facts, Request

Variable = tuple[bytes, bytes]
_FIELD_NAME = re.compile(rb"[a-z0-9-]+")
_NOT_FIELDS = frozenset(
    b"connection content-length content-type cookie expect host http2-settings keep-alive proxy proxy-authenticate "
    b"proxy-authorization proxy-connection te transfer-encoding upgrade".split()
)
"""Told otherwise, or not at all: about one connection, or HTTP_PROXY to a careless program."""
MAXIMUM_SEGMENTS = 64
"""Of a path in which a script is looked for."""


class Script:
    """What a path names.

    Args:
        name: the part of the path that leads to it (SCRIPT_NAME).
        file: its real name in the file system; empty where the application has no files.
        path_info: what follows.
    """

    __slots__ = ("file", "name", "path_info")

    def __init__(self, name: str, file: bytes, path_info: str) -> None:
        self.name = name
        self.file = file
        self.path_info = path_info


def find_script(root: DocumentRoot, path: str, suffixes: Sequence[str] | None, prefix: str) -> Script | None:
    """The script below `root` that `path` names: the first segment with one of `suffixes` ends its name.

    Args:
        root: where scripts are.
        path: normalised, without the route's prefix.
        suffixes: such as `.php`; None if every file is one.
        prefix: the route's, for SCRIPT_NAME.

    Returns: None for everything that is not a script, or can't be opened. Blocks: for a thread.
    """
    segments = path.split("/")
    for index, segment in enumerate(segments[:MAXIMUM_SEGMENTS]):
        if segment and (suffixes is None or (segment.endswith(tuple(suffixes)) and segment not in suffixes)):
            name = "/".join(segments[: index + 1])
            file = _real_file(root, name, suffixes)
            if file is not None:
                rest = "/".join(segments[index + 1 :])
                return Script(prefix + name, file, f"/{rest}" if index + 1 < len(segments) else "")
    return None


def _real_file(root: DocumentRoot, name: str, suffixes: Sequence[str] | None) -> bytes | None:
    relative = relative_path(name)
    if relative is None:
        return None
    try:
        descriptor, status = root.open(relative)
    except OSError:
        return None
    try:
        real = os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode) or not (suffixes is None or real.endswith(tuple(suffixes))):
        return None
    return os.fsencode(real)


def variables_of(
    request: Request, facts: Facts, script: Script, root: bytes, length: int | None, extra: Mapping[str, str]
) -> list[Variable]:
    """The variables of one request, CONTENT_LENGTH first, as SCGI wants it.

    Args:
        request: the request.
        facts: what is known of it; the client's certificate is taken from here alone.
        script: what it names.
        root: the document root, empty without one.
        length: of the body.
        extra: the operator's own; they win.
    """
    peer = request.peer
    port = request.authority.rpartition(":")[2] if request.authority[len(request.host) :] else ""
    target = request.target or _bytes(request.path)
    found: dict[bytes, bytes] = {
        b"CONTENT_LENGTH": b"" if length is None else b"%d" % length,
        b"CONTENT_TYPE": request.headers.get(b"content-type") or b"",
        b"GATEWAY_INTERFACE": b"CGI/1.1",
        b"SERVER_SOFTWARE": b"securelight",
        b"SERVER_PROTOCOL": b"HTTP/2.0" if request.http_version == "2" else f"HTTP/{request.http_version}".encode(),
        b"SERVER_NAME": _bytes(request.host),
        b"SERVER_PORT": _bytes(port or ("443" if request.scheme == "https" else "80")),
        b"SERVER_ADDR": _bytes(peer.local_address),
        b"REMOTE_ADDR": _bytes(facts.client_address),
        b"REMOTE_PORT": b"%d" % peer.port,
        b"REQUEST_METHOD": _bytes(request.method),
        b"REQUEST_SCHEME": _bytes(request.scheme),
        b"REQUEST_URI": target,
        b"QUERY_STRING": request.query,
        b"DOCUMENT_URI": _bytes(script.name + script.path_info),
        b"SCRIPT_NAME": _bytes(script.name),
        b"PATH_INFO": _bytes(script.path_info),
        b"REDIRECT_STATUS": b"200",  # php-cgi answers nobody without it
    }
    if root:
        found[b"DOCUMENT_ROOT"] = root
        if script.path_info:
            found[b"PATH_TRANSLATED"] = root + _bytes(script.path_info)
    if script.file:
        found[b"SCRIPT_FILENAME"] = script.file
    if request.scheme == "https":
        found[b"HTTPS"] = b"on"
        found[b"SSL_PROTOCOL"] = _bytes(peer.tls.version)
        found[b"SSL_CIPHER"] = _bytes(peer.tls.cipher)
    certificate = facts.certificate
    if certificate is not None:
        found[b"SSL_CLIENT_VERIFY"] = b"SUCCESS"
        found[b"SSL_CLIENT_S_DN"] = _bytes(certificate.subject)
        found[b"SSL_CLIENT_M_SERIAL"] = _bytes(certificate.serial)
        found[b"SSL_CLIENT_FINGERPRINT"] = _bytes(certificate.fingerprint)
    elif request.scheme == "https":
        found[b"SSL_CLIENT_VERIFY"] = b"NONE"
    if facts.user is not None:
        found[b"REMOTE_USER"] = _bytes(facts.user)
    _add_fields(found, request, authenticated=facts.user is not None)
    for name, text in (*(facts.variables or {}).items(), *extra.items()):
        found[_bytes(name)] = _bytes(text)
    return [(name, value.replace(b"\0", b"")) for name, value in found.items()]


def _add_fields(found: dict[bytes, bytes], request: Request, *, authenticated: bool) -> None:
    cookies = []
    for name, value in request.headers.fields:
        if name == b"cookie":
            cookies.append(value)
        if name in _NOT_FIELDS or is_forwarding(name) or not _FIELD_NAME.fullmatch(name):
            continue
        if name == b"authorization" and authenticated:  # RFC 3875, section 9.2
            continue
        variable = b"HTTP_" + name.replace(b"-", b"_").upper()
        known = found.get(variable)
        found[variable] = value if known is None else known + b", " + value
    if cookies:
        found[b"HTTP_COOKIE"] = b"; ".join(cookies)
    found[b"HTTP_HOST"] = _bytes(request.authority)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
