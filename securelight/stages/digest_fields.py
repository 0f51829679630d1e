"""The syntax of Digest credentials (RFC 7616, section 3.4): one line of hostile text into what it claims."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from securelight.stages.user_file import MAXIMUM_USER_CHARACTERS

MAXIMUM_PARAMETERS: Final = 16
MAXIMUM_VALUE_CHARACTERS: Final = 8_192
"""A target is no longer (Limits.request_target_bytes by default)."""
_PARAMETER: Final = re.compile(
    r"[ \t]*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<token>[^\s",]++))[ \t]*+(?:,|$)'
)
_EXTENDED: Final = re.compile(r"(?i:utf-8)'[A-Za-z0-9-]*'(.*)")
_COUNT: Final = re.compile(r"[0-9A-Fa-f]{8}")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{32,64}")


class DigestCredentials(NamedTuple):
    """What a client says. Nothing of it is proved.

    Attributes:
        user: its name.
        realm, nonce, uri, cnonce: as they were sent.
        nc: the count, as eight hexadecimal digits.
        response: the proof, hexadecimal in lower case.
        algorithm: in upper case; MD5 if it names none.
    """

    user: str
    realm: str
    nonce: str
    uri: str
    nc: str
    cnonce: str
    response: str
    algorithm: str


def digest_credentials(line: bytes) -> DigestCredentials | None:
    """What an Authorization field says; None for another scheme, and for what is no good.

    Refused: a value that is there twice or missing, qop other than `auth`, hashed user names, which we never ask for.
    """
    scheme, _, text = line.partition(b" ")
    if scheme.lower() != b"digest":
        return None
    try:
        values = _parameters(text.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    if values is None or values.get("qop", "") != "auth" or values.get("userhash", "false").lower() != "false":
        return None
    user = _user(values)
    needed = [values.get(name) for name in ("realm", "nonce", "uri", "nc", "cnonce", "response")]
    if user is None or any(value is None for value in needed):
        return None
    realm, nonce, uri, nc, cnonce, response = map(str, needed)
    if not _COUNT.fullmatch(nc) or not _HEX.fullmatch(response) or not cnonce:
        return None
    algorithm = values.get("algorithm", "MD5").upper()
    return DigestCredentials(user, realm, nonce, uri, nc, cnonce, response.lower(), algorithm)


def _parameters(text: str) -> dict[str, str] | None:
    values: dict[str, str] = {}
    place = 0
    while place < len(text):
        match = _PARAMETER.match(text, place)
        if match is None or len(values) >= MAXIMUM_PARAMETERS:
            return None
        name, quoted = match["name"].lower(), match["quoted"]
        value = match["token"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if name in values or len(value) > MAXIMUM_VALUE_CHARACTERS:
            return None
        values[name] = value
        place = match.end()
    return values


def _user(values: dict[str, str]) -> str | None:
    user, extended = values.get("username"), values.get("username*")
    if (user is None) == (extended is None):
        return None
    if extended is not None:
        match = _EXTENDED.fullmatch(extended)
        if match is None:
            return None
        try:
            user = unquote(match[1], errors="strict")
        except UnicodeDecodeError:
            return None
    assert user is not None
    return user if user.isprintable() and 0 < len(user) <= MAXIMUM_USER_CHARACTERS and ":" not in user else None
