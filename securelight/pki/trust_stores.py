"""Who on this machine trusts our authority: every trust store there is, and the exact commands that would change it.

Looks, and never changes: adding a root to a trust store is the owner's decision, made by running the command that is
printed, or `securelight certs trust`, which shows it first.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securelight.pki.trust_commands import command_line
from securelight.pki.trust_java import java_stores
from securelight.pki.trust_keychain import Keychain
from securelight.pki.trust_nss import nss_stores
from securelight.pki.trust_root import StoreKind, TrustStore, read_bundle, read_root
from securelight.pki.trust_system import bundles, system_store

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

KINDS: tuple[StoreKind, ...] = ("system", "keychain", "nss", "java")
"""In the order in which they are changed: on Debian, the system's store feeds Java's."""


@dataclass(frozen=True, slots=True)
class SystemTrust:
    """What the system's trust store makes of an authority.

    Args:
        trusted: True if it is among the trusted roots.
        store: the file that was looked at, or "" if this system has none that we know of.
        command: makes the system trust it; "" if we do not know how.
    """

    trusted: bool
    store: str
    command: str


def system_trust(authority_path: Path, root: Path | None = None) -> SystemTrust:
    """Whether this machine's system store trusts the authority in the PEM file `authority_path`.

    Args:
        authority_path: the root certificate.
        root: of the file system to look at; by default this machine's.

    Errors: CertificateError if the file cannot be read or does not hold one certificate.
    """
    authority = read_root(authority_path)
    stores = bundles(root)
    trusted_by = next((store for store in stores if authority.der in read_bundle(store)), None)
    store = trusted_by or next(iter(stores), None)
    anchors = system_store(root)
    command = command_line(anchors.install(authority)) if anchors is not None else ""
    return SystemTrust(trusted_by is not None, str(store or ""), command)


def find_stores(
    kinds: Collection[StoreKind] = KINDS, root: Path | None = None, environment: Mapping[str, str] | None = None
) -> list[TrustStore]:
    """Every trust store of these kinds that a client on this machine reads, in the order of KINDS.

    Args:
        kinds: which are wanted.
        root: of the file system to look at; by default this machine's.
        environment: for HOME, PATH, XDG_DATA_HOME and JAVA_HOME; by default ours.
    """
    environment = os.environ if environment is None else environment
    found: list[TrustStore] = []
    if "system" in kinds and (system := system_store(root)) is not None:
        found.append(system)
    if "keychain" in kinds and platform.system() == "Darwin":
        found.append(Keychain())
    if "nss" in kinds:
        found += nss_stores(environment)
    if "java" in kinds:
        found += java_stores(root, environment)
    return found
