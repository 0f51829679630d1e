"""Links that are good for a time, or for one address: whoever has no valid one gets a 403 (lighttpd's secdownload).

An application that may see a file makes a link to it:

    https://example.org/files/report.pdf?expires=1767225600&signature=...

The signature is the HMAC-SHA256 of the lines `path`, `expires` and, with `bind_address`, the client's address, under a
secret that the application and the server share; base64 for URLs, without padding. The path is the decoded one.
`expires` is in seconds since 1970. Other parameters of the query are not signed. A bound address is that of the client
behind trusted proxies, as Python's ipaddress writes it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from securelight.config.conditions import Condition
from securelight.model.errors import ConfigError, Refusal
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.request_values import query_values
from securelight.stages.rules import test_of, when_faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.stage import Stage

LEAST_SECRET_BYTES: Final = 32
MAXIMUM_SECRET_BYTES: Final = 4_096
_MAXIMUM_DIGITS: Final = 12


class SignedLinksConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`signed_links`: only links with a valid signature."""

    secret_file: Annotated[str, msgspec.Meta(min_length=1)]
    """What the application knows too: `openssl rand -hex 32 > file`. White space around it does not count."""
    when: Condition | None = None
    """Which requests; all of them without it."""
    bind_address: bool = False
    """A link is good for the client's address alone, which the application has to know."""
    longest_seconds: Annotated[int, msgspec.Meta(ge=1)] = 604_800
    """A link that is good for longer than this is none, so that a mistake does not last for ever."""


def _secret(path: Path) -> bytes:
    """The secret in the file.

    Errors: ValueError, worded for the operator.
    """
    try:
        with path.open("rb") as file:
            secret = file.read(MAXIMUM_SECRET_BYTES + 1).strip()
    except OSError as error:
        raise ValueError(f"secret_file: {str(path)!r} cannot be read: {error.strerror}") from error
    if not LEAST_SECRET_BYTES <= len(secret) <= MAXIMUM_SECRET_BYTES:
        raise ValueError(
            f"secret_file: {str(path)!r} has to hold {LEAST_SECRET_BYTES} to {MAXIMUM_SECRET_BYTES} bytes; "
            f"run: openssl rand -hex 32 > {path}"
        )
    return secret


def check(settings: SignedLinksConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = when_faults(settings.when, "")
    try:
        _secret(base / settings.secret_file)
    except ValueError as error:
        faults.append(str(error))
    return faults


def signature(secret: bytes, path: str, expires: int, address: str = "") -> str:
    """The signature of a link.

    Args:
        secret: shared with the application.
        path: decoded, beginning with a slash.
        expires: seconds since 1970.
        address: of the client, if the link is bound to it.
    """
    lines = [path, str(expires), *([address] if address else [])]
    digest = hmac.digest(secret, "\n".join(lines).encode("utf-8", "surrogateescape"), hashlib.sha256)
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def build(settings: SignedLinksConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    secret = _secret(context.base / settings.secret_file)
    test = test_of(settings.when, "", context)
    bind_address, longest_seconds = settings.bind_address, settings.longest_seconds

    def signed_links(request: Request, facts: Facts) -> None:
        if not test(request, facts):
            return
        given, until = query_values(request, "signature"), query_values(request, "expires")
        if len(given) != 1 or len(until) != 1 or not (until[0].isascii() and until[0].isdigit()):
            raise Refusal(403, "This link is not valid.", "no signature")
        if len(until[0]) > _MAXIMUM_DIGITS or until[0] != str(int(until[0])):
            raise Refusal(403, "This link is not valid.", "no time")
        expires, now = int(until[0]), time.time()
        wanted = signature(secret, request.path, expires, facts.client_address if bind_address else "")
        if not hmac.compare_digest(wanted.encode(), given[0].encode("utf-8", "surrogateescape")):
            raise Refusal(403, "This link is not valid.", "wrong signature")
        if expires < now:
            raise Refusal(410, "This link is no longer valid.", f"expired {now - expires:.0f} s ago")
        if expires > now + longest_seconds:
            raise Refusal(403, "This link is not valid.", f"good for more than {longest_seconds} s")

    return signed_links


FEATURE = Feature(name="signed_links", kind="stage", config_class=SignedLinksConfig, build=build, check=check)
