"""The page that `serve-root` shows to a phone: one certificate, and how each system is told to trust it.

No script, nothing from elsewhere; it can be read on a small screen, in the dark, and with a screen reader.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from securelight.pki.trust_facts import RootFacts
    from securelight.pki.trust_root import Root

STYLE: Final = """
:root { color-scheme: light dark; font: 1.05rem/1.55 system-ui, sans-serif; }
body { max-width: 40rem; margin: 0 auto; padding: 1.2rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
code { font: .95rem/1.6 ui-monospace, monospace; overflow-wrap: anywhere; }
.fingerprint { padding: .8rem 1rem; border: 2px solid; border-radius: .5rem; }
summary { cursor: pointer; padding: .7rem 0; font-weight: 600; }
details { border-top: 1px solid #8888; }
a.get { display: inline-block; padding: .6rem 1rem; border-radius: .5rem; background: #0b57d0; color: #fff; }
li { margin: .4rem 0; }
"""

POLICY: Final = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: nothing but this style."""

PLATFORMS: Final = (
    (
        "iPhone, iPad",
        "ca.mobileconfig",
        "Get the profile",
        (
            "Open this page in Safari, get the profile, and allow the download.",
            "Settings, General, VPN &amp; Device Management: choose the profile, then Install.",
            "Compare the fingerprint: More Details, then the certificate.",
            "Settings, General, About, Certificate Trust Settings: switch it on. Without this, nothing trusts it.",
        ),
    ),
    (
        "Android",
        "ca.crt",
        "Get the certificate",
        (
            "Settings: search for “CA certificate” (Security, Encryption &amp; credentials, Install a certificate).",
            "Choose CA certificate, Install anyway, and the file that you just got.",
            "Compare the fingerprint: Trusted credentials, User, then the certificate.",
            "Chrome trusts it now. Firefox: Settings, About Firefox, tap the logo five times, then Secret Settings, "
            "Use third party CA certificates.",
        ),
    ),
    (
        "Windows",
        "ca.crt",
        "Get the certificate",
        (
            "Open the file, then Install Certificate, Current User.",
            "Place it in: Trusted Root Certification Authorities.",
            "Windows shows a fingerprint (SHA-1) and asks: compare it with the one in the terminal.",
        ),
    ),
    (
        "macOS",
        "ca.mobileconfig",
        "Get the profile",
        (
            "Open the file, then System Settings, General, Device Management: choose the profile, Install.",
            "In Keychain Access, open the certificate, Trust, and choose Always Trust for SSL.",
        ),
    ),
    (
        "Linux, and everything else",
        "ca.pem",
        "Get the certificate as PEM",
        (
            "Debian, Ubuntu: copy it to /usr/local/share/ca-certificates/ with the ending .crt, then run "
            "<code>sudo update-ca-certificates</code>.",
            "Fedora: copy it to /etc/pki/ca-trust/source/anchors/, then run <code>sudo update-ca-trust</code>.",
            "Firefox: Settings, Privacy &amp; Security, View Certificates, Authorities, Import.",
        ),
    ),
)
"""Name, file, label of the link, and steps, which are HTML."""


def page(root: Root, facts: RootFacts) -> bytes:
    """The page, as UTF-8."""
    name = html.escape(facts.name)
    limits = (
        f"It can vouch for these names and addresses only: {html.escape(facts.limits)}."
        if facts.limits
        else "<strong>It can vouch for every site on the internet:</strong> install it only if you would hand its "
        "owner all that you do there."
    )
    platforms = "".join(
        f'<details><summary>{title}</summary><p><a class="get" href="/{file}">{label}</a></p>'
        f"<ol>{''.join(f'<li>{step}</li>' for step in steps)}</ol></details>\n"
        for title, file, label, steps in PLATFORMS
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trust {name}</title>
<style>{STYLE}</style>
<main>
<h1>Trust {name}</h1>
<p>This is the certificate of a local authority. A device that trusts it opens the HTTPS sites of whoever runs it
without a warning. {limits} It is valid until {facts.not_after:%d %B %Y}.</p>
<div class="fingerprint"><p>This page came without encryption: <strong>compare before you install.</strong> The
fingerprint that your device shows must be the one in the terminal that gave you this
address.</p>
<p>SHA-256<br><code>{_breakable(root.sha256)}</code></p><p>SHA-1<br><code>{_breakable(pairs(root.sha1))}</code></p></div>
<h2>On this device</h2>
{platforms}</main>
</html>
""".encode()


def pairs(text: str) -> str:
    """Hex with colons, as devices show fingerprints."""
    return ":".join(text[start : start + 2] for start in range(0, len(text), 2))


def _breakable(fingerprint: str) -> str:
    """Lines may end after every fourth pair, and nowhere else."""
    return re.sub(r"((?:[0-9A-F]{2}:){4})", r"\1<wbr>", fingerprint)
