"""The lab's own authorities and keys, and leaves in which one thing at a time can be changed.

The root is made at start, in memory, and limited to `localhost` and loopback addresses, so that who trusts it risks
nothing. Keys are made when they are first needed and shared by all cases that need one of the kind.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from securelight.pki.forge import DNS_NAME, Extension, Key, Recipe, alternative_names, forge, forged_pem, key_pem, name
from securelight.pki.forge_keys import (
    alternative_name,
    authority_key_identifier,
    basic_constraints,
    extended_key_usage,
    key_usage,
    name_constraints,
    new_key,
    subject_key_identifier,
)  # fmt: skip

BACKDATED: Final = timedelta(hours=1)
LEAF_LIFE: Final = timedelta(days=30)
AUTHORITY_LIFE: Final = timedelta(days=365)
CLIENT_CERTIFICATES: Final = ("good", "expired", "revoked", "unknown-authority", "wrong-purpose")
"""The client certificates that the lab hands out."""


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority: the DER of its name, its key, and its certificate."""

    subject: bytes
    key: Key
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Chain:
    """What a server shows: DER certificates, leaf first, and the leaf's key."""

    certificates: tuple[bytes, ...]
    key: Key

    @property
    def pem(self) -> bytes:
        """The certificates."""
        return b"".join(map(forged_pem, self.certificates))

    @property
    def key_pem(self) -> bytes:
        """The key."""
        return key_pem(self.key)


class World:
    """See above. Safe to use from several threads.

    Args:
        root: (key, certificate) of an earlier lab whose root is trusted already.
    """

    def __init__(self, root: Signer | None = None) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, tuple[threading.Lock, list[Key]]] = {}
        self.root = root or self.authority("root", constraints=("localhost", "127.0.0.0/8", "::1/128"), label=True)

    @property
    def now(self) -> datetime:
        """UTC, without fractions of a second."""
        return datetime.now(UTC).replace(microsecond=0)

    def key(self, kind: str = "p-256", use: str = "leaf") -> Key:
        """The key of a kind (see new_key) for a use; always the same one."""
        with self._lock:
            lock, made = self._keys.setdefault(f"{kind} {use}", (threading.Lock(), []))
        with lock:  # of this key alone: RSA with 8192 bits takes its time
            if not made:
                made.append(new_key(kind))
            return made[0]

    def authority(
        self,
        common_name: str,
        issuer: Signer | None = None,
        *,
        kind: str = "p-256",
        extensions: Sequence[Extension] | None = None,
        path_length: int | None = None,
        constraints: Sequence[str] = (),
        label: bool = False,
        key: Key | None = None,
        **changes: Any,
    ) -> Signer:
        """An authority, signed by `issuer`, or by itself.

        Args:
            common_name: of its subject, with "securelight lab" before it.
            issuer: who signs; itself if None.
            kind: of its key.
            extensions: in place of the usual ones; key identifiers are added, unless there are none.
            path_length: of its basicConstraints.
            constraints: names that it is limited to.
            label: the date and its key's id go into its name, so that it is never taken for an earlier one.
            key: its key, in place of one of `kind`.
            changes: of the recipe.
        """
        key = key or self.key(kind, common_name)
        if extensions is None:
            extensions = [basic_constraints(ca=True, path_length=path_length), key_usage("key_cert_sign", "crl_sign")]
            if constraints:
                extensions.append(name_constraints(permitted=constraints))
        if extensions:  # without any, it is to have none at all
            identifiers = [subject_key_identifier(key)]
            if issuer is not None:
                identifiers.append(authority_key_identifier(issuer.key))
            extensions = [*extensions, *identifiers]
        full_name = f"securelight lab {common_name}"
        if label:
            full_name += f" {self.now:%Y-%m-%d} {subject_key_identifier(key).value.hex()[-12:]}"
        subject = name(full_name)
        settings: dict[str, Any] = {
            "subject": subject, "key": key, "issuer": issuer.subject if issuer else subject,
            "issuer_key": issuer.key if issuer else key, "not_before": self.now - BACKDATED,
            "not_after": self.now + AUTHORITY_LIFE, "extensions": extensions, **changes,
        }  # fmt: skip
        return Signer(settings["subject"], key, forge(Recipe(**settings)))

    @functools.cached_property
    def intermediate(self) -> Signer:
        """Signs the leaves of all cases that have nothing to say about authorities."""
        return self.authority("intermediate", self.root, path_length=0)

    @functools.cached_property
    def rsa_intermediate(self) -> Signer:
        """The same with an RSA key, for signatures that ECDSA does not have."""
        return self.authority("RSA intermediate", self.root, kind="rsa-2048", path_length=0)

    @functools.cached_property
    def client_authority(self) -> Signer:
        """Signs client certificates."""
        return self.authority("client authority", self.root, path_length=0)

    def leaf(
        self,
        *names: str,
        issuer: Signer | None = None,
        kind: str = "p-256",
        san: Extension | bool | None = True,
        basic: Extension | None = basic_constraints(ca=False),  # noqa: B008 - immutable
        usage: Extension | None = key_usage("digital_signature", "key_encipherment"),  # noqa: B008 - unchanging
        extended: Extension | None = extended_key_usage("server"),  # noqa: B008 - unchanging
        identifiers: bool = True,
        extra: Sequence[Extension] = (),
        between: Sequence[Signer] | None = None,
        **changes: Any,
    ) -> Chain:
        """A leaf for `names`, with its chain, right in everything but what is changed.

        Args:
            names: of its subjectAltName; the first is also its common name.
            issuer: who signs; the intermediate if None.
            kind: of its key.
            san: in place of the subjectAltName; None for none.
            basic: basicConstraints, or None.
            usage: keyUsage, or None.
            extended: extKeyUsage, or None.
            identifiers: whether it has key identifiers.
            extra: more extensions.
            between: what is sent behind the leaf; the issuer if None.
            changes: of the recipe.
        """
        issuer = issuer or self.intermediate
        key = self.key(kind)
        if san is True:
            san = alternative_names(*map(alternative_name, names))
        extensions = [one for one in (san or None, basic, usage, extended) if one is not None]
        if identifiers:
            extensions += [subject_key_identifier(key), authority_key_identifier(issuer.key)]
        # Never an address: OpenSSL holds one in the common name against constraints on DNS names.
        common_name = names[0] if names and len(names[0]) <= 64 and alternative_name(names[0])[0] == DNS_NAME else ""
        settings: dict[str, Any] = {
            "subject": name(common_name), "key": key, "issuer": issuer.subject, "issuer_key": issuer.key,
            "not_before": self.now - BACKDATED, "not_after": self.now + LEAF_LIFE,
            "extensions": [*extensions, *extra], **changes,
        }  # fmt: skip
        sent = [issuer] if between is None else between
        return Chain((forge(Recipe(**settings)), *(one.certificate for one in sent)), settings["key"])

    def client_chain(self, which: str) -> Chain:
        """A client certificate, one of CLIENT_CERTIFICATES."""
        changes: dict[str, Any] = {
            "extended": extended_key_usage("client"), "subject": name(f"{which} client"), "san": None,
        }  # fmt: skip
        issuer = self.client_authority
        if which == "expired":
            changes |= {"not_before": self.now - timedelta(days=40), "not_after": self.now - timedelta(days=10)}
        elif which == "revoked":
            changes["serial"] = REVOKED_SERIAL
        elif which == "wrong-purpose":
            changes["extended"] = extended_key_usage("server")
        elif which == "unknown-authority":
            issuer = self.authority("stranger", path_length=0)
        return self.leaf(which, issuer=issuer, key=self.key("p-256", "client"), **changes)


REVOKED_SERIAL: Final = 0x5EC0FF
"""Serial number of the client certificate that the lab's revocation list names."""
