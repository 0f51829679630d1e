"""What a request asks to switch to: the Upgrade of HTTP/1.1 and the extended CONNECT of HTTP/2, read as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securelight.model.request import Request


def wanted_protocols(request: Request) -> tuple[bytes, ...]:
    """The protocols that `request` asks to switch to, in lower case, the most wanted first; none for most requests.

    An Upgrade field that is not for us (`Connection` does not name it, HTTP/1.0), or that comes with a body, is to be
    ignored (RFC 9110, section 7.8): the request is an ordinary one.
    """
    value = request.headers.get(b"upgrade")
    if value is None:
        return ()
    if request.method != "CONNECT":
        named = (request.headers.get(b"connection") or b"").lower()
        if request.http_version != "1.1" or request.has_body or b"upgrade" not in _members(named):
            return ()
    return _members(value.lower())


def _members(value: bytes) -> tuple[bytes, ...]:
    return tuple(member for part in value.split(b",") if (member := part.strip(b" \t")))
