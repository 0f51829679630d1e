"""The keychain of macOS, changed with Apple's `security`. Only offered where that system runs.

Not tested on every change, as no machine of the project runs it: what it does is two commands, which are shown first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from securelight.model.errors import CertificateError
from securelight.pki.trust_commands import Command, find_program, is_superuser, look, reason
from securelight.pki.trust_root import Root, certificates_in

SYSTEM_KEYCHAIN = Path("/Library/Keychains/System.keychain")


@dataclass(frozen=True, slots=True)
class Keychain:
    """The keychain of all users.

    Args:
        path: the keychain.
    """

    path: Path = SYSTEM_KEYCHAIN
    kind: Literal["keychain"] = "keychain"

    @property
    def name(self) -> str:
        """For people."""
        return "macOS keychain"

    def obstacle(self) -> str:
        """Apple's program may be missing, as it is everywhere else."""
        return "" if find_program("security") else "Apple's `security` is not here: this store exists on macOS only"

    def holds(self, root: Root) -> bool:
        """Whether it is there, and trusted."""
        done = look("security", "find-certificate", "-a", "-p", str(self.path))
        if done.returncode != 0 and done.stdout == b"" and b"could not be found" not in done.stderr:
            raise CertificateError(str(self.path), f"cannot be read: {reason(done.stderr)}")
        if root.der not in certificates_in(done.stdout):
            return False
        return look("security", "verify-cert", "-c", str(root.path.resolve()), "-p", "ssl").returncode == 0

    def install(self, root: Root) -> tuple[Command, ...]:
        """Add it as a root that is trusted for TLS alone."""
        words = (
            "add-trusted-cert",
            "-d",
            "-r",
            "trustRoot",
            "-p",
            "ssl",
            "-k",
            str(self.path),
            str(root.path.resolve()),
        )
        return (Command(("security", *words), not is_superuser()),)

    def remove(self, root: Root) -> tuple[Command, ...]:
        """Take the trust and the certificate away; none of it if the certificate is not there."""
        if root.der not in certificates_in(look("security", "find-certificate", "-a", "-p", str(self.path)).stdout):
            return ()
        file = str(root.path.resolve())
        return (
            Command(("security", "remove-trusted-cert", "-d", file), not is_superuser()),
            Command(("security", "delete-certificate", "-Z", root.sha1, str(self.path)), not is_superuser()),
        )
