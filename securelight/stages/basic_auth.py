"""Passwords (RFC 7617): who knows one comes in, and is `user` for what follows.

A password is hashed in a thread, a few at a time; those beyond a number get a 503. What was right once is kept as a
keyed hash, so that each further request costs microseconds. A wrong one is answered late, the later the more of them
came from the address, and is an event that fail2ban can read (examples/fail2ban); after many, an address gets 429s for
a while, unhashed. A user that there is not takes as long as a wrong password.
"""

from __future__ import annotations

import binascii
import hashlib
import os
from base64 import b64decode
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import trio

from securelight.config.conditions import Condition
from securelight.model.errors import ConfigError, Refusal
from securelight.model.field_syntax import is_field_value
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred
from securelight.stages.login_failures import MAXIMUM_DELAY_SECONDS, LoginFailures
from securelight.stages.password_file import libraries_missing, read_users, verify
from securelight.stages.rules import test_of, when_faults
from securelight.stages.user_file import MAXIMUM_USER_CHARACTERS, UserFile, UserFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Stage

HASHES_AT_A_TIME: Final = 2
"""In each worker: each takes a core for tens of milliseconds, and argon2 64 MB."""
WAITING: Final = 32
"""Requests whose password is to be hashed; those beyond get a 503."""
REMEMBERED: Final = 1_024
"""Right passwords, as keyed hashes."""
REMEMBERED_SECONDS: Final = 600.0
MAXIMUM_PASSWORD_BYTES: Final = 1_024


class BasicAuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`basic_auth`: passwords."""

    file: Annotated[str, msgspec.Meta(min_length=1)]
    """Users and hashes, as in htpasswd; `securelight hash-password` makes lines. Read again when it changes."""
    realm: str = "restricted"
    """What browsers show."""
    users: list[str] = []
    """Who of them comes in; all of them if it is empty."""
    when: Condition | None = None
    """Which requests; all of them without it."""
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAXIMUM_DELAY_SECONDS)] = 0.5
    """How late the first wrong password of an address is answered; each further one twice as late."""


def check(settings: BasicAuthConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults = when_faults(settings.when, "")
    if not is_field_value(settings.realm) or '"' in settings.realm or "\\" in settings.realm:
        faults.append(f"realm {settings.realm!r} has to be visible ASCII without quotes")
    missing = libraries_missing()
    if missing is not None:
        return [*faults, missing]
    try:
        known = read_users(base / settings.file).hashes
        faults += [f"users: {user!r} is not in {settings.file!r}" for user in settings.users if user not in known]
    except UserFileError as error:
        faults.append(f"file: {error}")
    return faults


def build(settings: BasicAuthConfig, context: BuildContext) -> Stage:
    """The stage.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    gate = _Gate(settings, context)
    test = None if settings.when is None else test_of(settings.when, "", context)

    def basic_auth(request: Request, facts: Facts) -> Deferred | None:
        if test is not None and not test(request, facts):
            return None
        return gate.ask(request, facts)

    return basic_auth


class _Gate:
    """What one route knows of its users."""

    def __init__(self, settings: BasicAuthConfig, context: BuildContext) -> None:
        self._file = UserFile(context.base / settings.file, read_users)
        self._allowed = frozenset(settings.users)
        self._challenge = ((b"www-authenticate", f'Basic realm="{settings.realm}", charset="UTF-8"'.encode()),)
        self._events = context.events
        self._key = os.urandom(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._failures = LoginFailures(settings.realm, settings.delay_seconds, context.events)
        self._waiting = 0
        self._limiter: trio.CapacityLimiter | None = None

    def ask(self, request: Request, facts: Facts) -> Deferred | None:
        """Let the request pass, have its password hashed, or refuse it.

        Errors: Refusal 401 and 503.
        """
        line = request.headers.get(b"authorization")
        if line is None:
            raise Refusal(401, "A password is needed here.", "no password", self._challenge)
        credentials = _credentials(line)
        if credentials is None:
            raise Refusal(401, "A password is needed here.", "not a password", self._challenge)
        user, password = credentials
        if self._file.refresh() and self._file.fault:
            self._events.error("password file not taken up", reason=self._file.fault)
        stored = self._file.users.hashes.get(user)
        seal = self._seal(user, password, stored or "")
        until = self._right.get(seal)
        if until is not None and monotonic() < until and stored is not None:
            self._let_in(user, facts)
            return None
        self._failures.refuse_if_too_many(facts.client_address)
        if self._waiting >= WAITING:
            raise Refusal(503, "Too many are logging in just now.", "passwords to hash", ((b"retry-after", b"2"),))

        async def decide(exchange: Exchange) -> None:
            await self._decide(exchange, user, password, stored, seal)

        return Deferred(decide)

    def _seal(self, user: str, password: str, stored: str) -> bytes:
        # The hash is in it, so that a changed password ends what is remembered of the old one.
        text = "\0".join((user, stored, password)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def _let_in(self, user: str, facts: Facts) -> None:
        if self._allowed and user not in self._allowed:
            raise Refusal(403, "This is not for you.", f"user {user!r} is not one of those who come in here")
        facts.user = user

    async def _decide(self, exchange: Exchange, user: str, password: str, stored: str | None, seal: bytes) -> None:
        if self._limiter is None:
            self._limiter = trio.CapacityLimiter(HASHES_AT_A_TIME)
        decoy = self._file.users.decoy
        self._waiting += 1
        try:
            async with self._limiter:
                right = await exchange.in_thread(lambda: verify(stored or decoy, password))
        finally:
            self._waiting -= 1
        facts = exchange.facts
        if not right or stored is None:
            await self._failures.punish(facts.client_address, user)
            raise Refusal(401, "The user or the password is wrong.", f"wrong password of {user!r}", self._challenge)
        self._failures.forget(facts.client_address)
        self._right[seal] = monotonic() + REMEMBERED_SECONDS
        self._right.move_to_end(seal)
        if len(self._right) > REMEMBERED:
            self._right.popitem(last=False)
        self._let_in(user, facts)


def _credentials(line: bytes) -> tuple[str, str] | None:
    """User and password of an Authorization field; None if it is no good (RFC 7617, section 2)."""
    scheme, _, encoded = line.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, colon, password = text.partition(":")
    if not colon or not user or len(user) > MAXIMUM_USER_CHARACTERS or not user.isprintable():
        return None
    if len(password.encode()) > MAXIMUM_PASSWORD_BYTES or "\0" in password:
        return None
    return user, password


FEATURE = Feature(
    name="basic_auth", kind="stage", config_class=BasicAuthConfig, build=build, check=check, finds_user=True
)
