"""Java's keystores: the file `cacerts` of every Java that is found here, changed with its own `keytool`.

Refuses to change a keystore that the distribution makes anew from the system's store, where a change would not last.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from securelight.model.errors import CertificateError
from securelight.pki.trust_commands import Command, find_program, look, may_write, reason
from securelight.pki.trust_root import OUR_PREFIX, Root, certificates_in

if TYPE_CHECKING:
    from collections.abc import Mapping

PASSWORD = "changeit"  # noqa: S105 - not a secret: what every Java comes with
KEYSTORES = ("lib/security/cacerts", "jre/lib/security/cacerts")
"""From the home of a Java."""

DISTRIBUTION_KEYSTORES = ("etc/ssl/certs/java/cacerts", "etc/pki/java/cacerts")
"""From the root of the file system."""

_ALIAS = re.compile(rb"^Alias name: (.+)$", re.MULTILINE)
_DEBIAN_HOOK = "debian:"
"""What Debian's own hook puts before the name of a root that it took from the system's store."""

_ENGLISH = ("-J-Duser.language=en", "-J-Duser.country=US")


@dataclass(frozen=True, slots=True)
class JavaKeystore:
    """One keystore.

    Args:
        path: the file.
        keytool: the program that belongs to it, or "".
    """

    path: Path
    keytool: str
    kind: Literal["java"] = "java"

    @property
    def name(self) -> str:
        """For people."""
        return "Java"

    @property
    def follows_the_system(self) -> bool:
        """Whether the distribution makes it from the system's store (Fedora, Arch, openSUSE)."""
        real = str(self.path.resolve())
        return "/extracted/" in real or "/var/lib/ca-certificates/" in real

    def obstacle(self) -> str:
        """keytool may be missing."""
        if not self.keytool:
            return "keytool is not installed; it comes with Java (Debian: apt-get install default-jre-headless)"
        return ""

    def holds(self, root: Root) -> bool:
        """Whether it is a trusted entry."""
        return bool(self._aliases(root))

    def install(self, root: Root) -> tuple[Command, ...]:
        """Import it; no command where the system's store is the way."""
        if self.follows_the_system:
            return ()
        return (
            self._change(
                "-importcert", "-noprompt", "-trustcacerts", "-alias", root.label, "-file", str(root.path.resolve())
            ),
        )

    def remove(self, root: Root) -> tuple[Command, ...]:
        """Delete the entries with our name, also those that Debian's hook made of it."""
        if self.follows_the_system:
            return ()
        ours = [alias for alias in self._aliases(root) if alias.removeprefix(_DEBIAN_HOOK).startswith(OUR_PREFIX)]
        return tuple(self._change("-delete", "-alias", alias) for alias in ours)

    def _change(self, *arguments: str) -> Command:
        sudo = not may_write(self.path, self.path.parent)
        return Command((self.keytool, *_ENGLISH, *arguments, "-keystore", str(self.path), "-storepass", PASSWORD), sudo)

    def _aliases(self, root: Root) -> list[str]:
        done = look(self.keytool, *_ENGLISH, "-list", "-rfc", "-keystore", str(self.path), "-storepass", PASSWORD)
        if done.returncode != 0:
            said = reason(done.stdout + b"\n" + done.stderr)
            cure = "import the root with keytool yourself"
            if "password was incorrect" in said:
                cure = f"its password is not the usual {PASSWORD!r}; {cure}"
            raise CertificateError(str(self.path), f"keytool cannot read this keystore ({said}); {cure}")
        aliases = [alias.decode(errors="replace").strip() for alias in _ALIAS.findall(done.stdout)]
        entries = _ALIAS.split(done.stdout)[2::2]
        return [alias for alias, entry in zip(aliases, entries, strict=True) if root.der in certificates_in(entry)]


def java_stores(root: Path | None, environment: Mapping[str, str]) -> list[JavaKeystore]:
    """The keystores of JAVA_HOME, of the `java` in PATH, and of the distribution, each once."""
    homes = [Path(home) for home in [environment.get("JAVA_HOME", "")] if home]
    if root is None:
        homes += [
            (Path(folder) / "java").resolve().parent.parent
            for folder in environment.get("PATH", "").split(os.pathsep)
            if folder and (Path(folder) / "java").is_file()
        ][:1]
    candidates: list[tuple[Path, Path | None]] = [(home / place, home) for home in homes for place in KEYSTORES]
    candidates += [((root or Path("/")) / place, None) for place in DISTRIBUTION_KEYSTORES]
    found: dict[Path, JavaKeystore] = {}
    for path, home in candidates:
        if path.is_file():
            own = str(home / "bin" / "keytool") if home is not None else ""
            keytool = own if own and os.access(own, os.X_OK) else find_program("keytool") or ""
            found.setdefault(path.resolve(), JavaKeystore(path, keytool))
    return list(found.values())
