"""Passwords for clients that only know Digest (RFC 7616): who proves to know one comes in, and is `user`.

The file is one of htdigest: `user:realm:hash`, the hash being that of `user:realm:password`. Whoever reads it can come
in with it, and a guess costs next to nothing: basic_auth over TLS is the better choice wherever the client knows it,
and `securelight check` says so. Hashes are SHA-256; MD5 only if the settings say it. A nonce lasts for some minutes,
each of its counts is taken once, and one that is over is answered with `stale=true`, so that nobody is asked for a
password again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from securelight.config.conditions import Condition
from securelight.model.errors import Refusal
from securelight.model.field_syntax import is_field_value
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred
from securelight.stages.digest_fields import digest_credentials
from securelight.stages.digest_nonces import Nonces
from securelight.stages.login_failures import MAXIMUM_DELAY_SECONDS, LoginFailures
from securelight.stages.rewrite import first_target
from securelight.stages.rules import refuse_faults, test_of, when_faults
from securelight.stages.user_file import MAXIMUM_USER_CHARACTERS, UserFile, UserFileError, read_private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.model.headers import Fields
    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Stage
    from securelight.stages.digest_fields import DigestCredentials

Algorithm = Literal["SHA-256", "MD5"]
_LENGTHS: Final[dict[Algorithm, int]] = {"SHA-256": 64, "MD5": 32}
_HASH: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")


class DigestAuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`digest_auth`: passwords for clients that know no better way."""

    file: Annotated[str, msgspec.Meta(min_length=1)]
    """Users, realms and hashes, as in htdigest; `securelight hash-password --realm` makes lines. Read again when it
    changes."""
    realm: Annotated[str, msgspec.Meta(min_length=1)]
    """What clients show; lines of other realms are left out."""
    algorithm: Algorithm = "SHA-256"
    """Of the hashes. MD5 only for clients that know nothing else."""
    users: list[str] = []
    """Who of them comes in; all of them if it is empty."""
    when: Condition | None = None
    """Which requests; all of them without it."""
    nonce_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 300.0
    """How long a client may count on with one nonce; then it gets another, without asking its user."""
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAXIMUM_DELAY_SECONDS)] = 0.5
    """How late the first wrong password of an address is answered; each further one twice as late."""


def reader_of(settings: DigestAuthConfig) -> Callable[[Path], dict[str, str]]:
    """Reads the hashes of the realm, by user.

    Errors: UserFileError.
    """
    length = _LENGTHS[settings.algorithm]

    def parse(text: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            user, realm, stored = _line(line.strip(), number)
            if realm != settings.realm or len(stored) != length:
                continue
            if user in found:
                raise ValueError(f"line {number}: {user!r} is there twice")
            found[user] = stored
        if not found:
            raise ValueError(
                f"has no users of the realm {settings.realm!r} with {settings.algorithm}; make one: "
                f"securelight hash-password --user NAME --realm {settings.realm!r}"
                + (" --md5" if settings.algorithm == "MD5" else "")
            )
        return found

    return lambda path: read_private(path, parse)


def _line(line: str, number: int) -> tuple[str, str, str]:
    user, _, rest = line.partition(":")
    realm, colon, stored = rest.rpartition(":")
    if not colon or not user or len(user) > MAXIMUM_USER_CHARACTERS or not user.isprintable():
        raise ValueError(f"line {number} is not user:realm:hash")
    if not _HASH.fullmatch(stored.lower()):
        raise ValueError(f"line {number}: the hash of {user!r} has to be 64 hexadecimal digits, or 32 for MD5")
    return user, realm, stored.lower()


def check(settings: DigestAuthConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = when_faults(settings.when, "")
    if not is_field_value(settings.realm) or '"' in settings.realm or "\\" in settings.realm:
        faults.append(f"realm {settings.realm!r} has to be visible ASCII without quotes")
        return faults
    try:
        known = reader_of(settings)(base / settings.file)
        faults += [f"users: {user!r} is not in {settings.file!r}" for user in settings.users if user not in known]
    except UserFileError as error:
        faults.append(f"file: {error}")
    return faults


def warnings(settings: DigestAuthConfig) -> list[str]:
    """What `securelight check` says of settings that are good."""
    found = ["the hashes in the file let whoever reads it in; where all clients know it, basic_auth is better"]
    if settings.algorithm == "MD5":
        found.append("algorithm MD5 is broken; use SHA-256 unless a client knows nothing else")
    return found


def build(settings: DigestAuthConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    refuse_faults(check(settings, context.base), context)
    gate = _Gate(settings, context)
    test = None if settings.when is None else test_of(settings.when, "", context)

    def digest_auth(request: Request, facts: Facts) -> Deferred | None:
        if test is not None and not test(request, facts):
            return None
        return gate.ask(request, facts)

    return digest_auth


class _Gate:
    """What one route knows of its users."""

    def __init__(self, settings: DigestAuthConfig, context: BuildContext) -> None:
        self._file = UserFile(context.base / settings.file, reader_of(settings))
        self._allowed = frozenset(settings.users)
        self._realm = settings.realm
        self._algorithm = settings.algorithm
        self._name = hashlib.sha256 if settings.algorithm == "SHA-256" else hashlib.md5
        self._nonces = Nonces(f"{context.where} {settings.realm}", settings.nonce_seconds, context.scoreboard.nonces)
        self._failures = LoginFailures(settings.realm, settings.delay_seconds, context.events)
        self._events = context.events

    def ask(self, request: Request, facts: Facts) -> Deferred | None:
        """Let the request pass, or refuse it.

        Errors: Refusal 401, 403 and 429.
        """
        line = request.headers.get(b"authorization")
        claim = None if line is None else digest_credentials(line)
        if claim is None or claim.realm != self._realm or claim.algorithm != self._algorithm:
            raise Refusal(401, "A password is needed here.", "no digest of this realm", self._challenge())
        if self._file.refresh() and self._file.fault:
            self._events.error("password file not taken up", reason=self._file.fault)
        self._failures.refuse_if_too_many(facts.client_address)
        stored = self._file.users.get(claim.user)
        right = hmac.compare_digest(self._proof(claim, stored or "0" * 32, request.method), claim.response)
        if stored is None or not right:
            return Deferred(lambda exchange: self._refuse(exchange, claim.user))
        if not _is_target(claim.uri, request):
            raise Refusal(400, "The credentials are for another address.", f"digest of {claim.uri[:80]!r}")
        # A request that a rule has changed comes here again, and is no repetition.
        taken = (claim.nonce, claim.nc)
        if getattr(facts, "proof", None) != taken and not self._nonces.take(claim.nonce, int(claim.nc, 16)):
            raise Refusal(401, "A password is needed here.", "the nonce is over", self._challenge(stale=True))
        facts.proof = taken
        self._failures.forget(facts.client_address)
        if self._allowed and claim.user not in self._allowed:
            raise Refusal(403, "This is not for you.", f"user {claim.user!r} is not one of those who come in here")
        facts.user = claim.user
        return None

    def _hash(self, *parts: str) -> str:
        return self._name(":".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _proof(self, claim: DigestCredentials, stored: str, method: str) -> str:
        """What the client's response has to be (RFC 7616, section 3.4.1)."""
        return self._hash(stored, claim.nonce, claim.nc, claim.cnonce, "auth", self._hash(method, claim.uri))

    def _challenge(self, *, stale: bool = False) -> Fields:
        says = f'Digest realm="{self._realm}", qop="auth", algorithm={self._algorithm}, nonce="{self._nonces.make()}"'
        says += ", charset=UTF-8" + (", stale=true" if stale else "")
        return ((b"www-authenticate", says.encode()),)

    async def _refuse(self, exchange: Exchange, user: str) -> None:
        await self._failures.punish(exchange.facts.client_address, user)
        raise Refusal(401, "The user or the password is wrong.", f"wrong digest of {user!r}", self._challenge())


def _is_target(uri: str, request: Request) -> bool:
    """Whether `uri` is what the client has asked for (RFC 7616, section 3.4.6), as path or as a whole URL."""
    target = first_target(request).decode("latin-1")
    return uri in (target, f"{request.scheme}://{request.authority}{target}")


FEATURE = Feature(
    name="digest_auth", kind="stage", config_class=DigestAuthConfig, build=build, check=check, finds_user=True
)
