"""What a client that reads no store of this machine needs in order to trust the authority: a file, a line, or steps.

Each target is one row of TARGETS. Its text says all that is to be done, and, where that is a shell's work, can be
given to a shell as it is.
"""

from __future__ import annotations

import base64
import json
import plistlib
import shlex
import uuid
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from securelight.pki.identities import UNREADABLE
from securelight.pki.trust_facts import root_facts
from securelight.pki.trust_java import PASSWORD
from securelight.pki.trust_root import read_bundle
from securelight.pki.trust_system import bundles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from securelight.pki.trust_root import Root


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of client.

    Args:
        summary: for the help.
        text: what to do, from the root, the file's path as it is to be written down, and the server's URL.
        file_name: of the file that the text speaks of, or "".
        content: of that file.
    """

    summary: str
    text: Callable[[Root, str, str], str]
    file_name: str = ""
    content: Callable[[Root], bytes] | None = None


def mobile_config(root: Root) -> bytes:
    """A configuration profile for iOS, iPadOS and macOS with the root in it; the same root gives the same profile."""
    facts = root_facts(root)

    def identifier(part: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"securelight {part} {root.sha256}")).upper()

    payload = {
        "PayloadType": "com.apple.security.root",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"net.securelight.{root.label}.root",
        "PayloadUUID": identifier("root"),
        "PayloadDisplayName": facts.name,
        "PayloadCertificateFileName": "securelight-ca.crt",
        "PayloadContent": root.der,
    }
    profile = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"net.securelight.{root.label}",
        "PayloadUUID": identifier("profile"),
        "PayloadDisplayName": facts.name,
        "PayloadDescription": f"Trusts {facts.name}. SHA-256 {root.sha256}",
        "PayloadRemovalDisallowed": False,
        "PayloadContent": [payload],
    }
    return plistlib.dumps(profile)


def combined_bundle(root: Root) -> bytes:
    """The root, and all that this system trusts, for clients that read one file instead of the system's."""
    system = next((content for path in bundles() if (content := path.read_bytes())), b"")
    if root.der in (read_bundle(bundles()[0]) if system else []):
        return system
    return root.pem + system


def java_truststore(root: Root) -> bytes:
    """A PKCS #12 file that Java takes as its trust store: the root, and all that this system trusts."""
    trusted = {root.der: "securelight"}
    for bundle in bundles()[:1]:
        for number, der in enumerate(read_bundle(bundle)):
            trusted.setdefault(der, f"system-{number}")
    entries = []
    for der, name in trusted.items():
        try:
            with warnings.catch_warnings():
                # Some old public roots have serial numbers that are no longer allowed.
                warnings.simplefilter("ignore")
                certificate = x509.load_der_x509_certificate(der)
        except UNREADABLE:
            continue
        entries.append(pkcs12.PKCS12Certificate(certificate, name.encode()))
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(PASSWORD.encode()))


def _pem(root: Root) -> bytes:
    return root.pem


def _der(root: Root) -> bytes:
    return root.der


def _firefox_policy(root: Root) -> bytes:
    policies = {"policies": {"Certificates": {"Install": [str(root.path.resolve())]}}}
    return (json.dumps(policies, indent=2) + "\n").encode()


def _chrome_policy(root: Root) -> bytes:
    return (json.dumps({"CACertificates": [base64.b64encode(root.der).decode()]}, indent=2) + "\n").encode()


def _own_path(root: Root) -> str:
    return shlex.quote(str(root.path.resolve()))


def _base_name(file: str) -> str:
    """What the file is called on the other machine that it is brought to."""
    return shlex.quote(shlex.split(file)[0].rpartition("/")[2])


def _fingerprint(root: Root) -> str:
    return f"Compare its SHA-256 fingerprint before you install it:\n  {root.sha256}"


def _android(root: Root, file: str, url: str) -> str:
    return f"""\
1. Bring {file} to the device (securelight certs serve-root does that), or: adb push {file} /sdcard/Download/
2. Settings > Security > More security settings > Encryption & credentials > Install a certificate > CA certificate
   > Install anyway > choose the file. Menus differ a little between makers; search the settings for "CA certificate".
3. {_fingerprint(root)}
Chrome and the browser views of apps then trust it. An app of your own says so in res/xml/network_security_config.xml:
  <network-security-config><debug-overrides><trust-anchors>
    <certificates src="user"/>
  </trust-anchors></debug-overrides></network-security-config>
To undo: Settings > Security > Encryption & credentials > User credentials."""


def _ios(root: Root, file: str, url: str) -> str:
    return f"""\
1. Bring {file} to the device: open it in Safari with securelight certs serve-root, or send it by AirDrop or mail.
2. Settings > General > VPN & Device Management > choose the profile > Install.
3. {_fingerprint(root)}
4. Settings > General > About > Certificate Trust Settings > switch it on. Without this, nothing trusts it.
To undo: Settings > General > VPN & Device Management > choose the profile > Remove Profile."""


def _windows(root: Root, file: str, url: str) -> str:
    return f"""\
# On Windows, in PowerShell, as yourself; Windows shows the fingerprint and asks. Edge, Chrome, curl and .NET use it.
certutil.exe -user -addstore Root {_base_name(file)}
# SHA-1, which is what Windows shows: {root.sha1}
# Firefox: about:config, security.enterprise_roots.enabled = true (it is by default since Firefox 120).
# To undo:
# certutil.exe -user -delstore Root {root.sha1}"""


def _wsl2(root: Root, file: str, url: str) -> str:
    return f"""\
# In WSL: makes Windows, outside of it, trust the authority; Windows shows the fingerprint and asks.
certutil.exe -user -addstore Root "$(wslpath -w {_own_path(root)})"
# SHA-1, which is what Windows shows: {root.sha1}
# What runs inside of WSL reads its own stores: securelight certs trust
# To undo:
# certutil.exe -user -delstore Root {root.sha1}"""


def _macos(root: Root, file: str, url: str) -> str:
    return f"""\
# On macOS. Safari, Chrome, curl and Swift use the keychain.
sudo security add-trusted-cert -d -r trustRoot -p ssl -k /Library/Keychains/System.keychain {_base_name(file)}
# To undo:
# sudo security delete-certificate -Z {root.sha1} /Library/Keychains/System.keychain"""


def _docker(root: Root, file: str, url: str) -> str:
    name = _base_name(file)
    return f"""\
# Dockerfile, with {file} copied into the build's folder. Debian, Ubuntu, Alpine (with the package ca-certificates):
COPY {name} /usr/local/share/ca-certificates/{root.label}.crt
RUN update-ca-certificates
# Fedora, RHEL:
# COPY {name} /etc/pki/ca-trust/source/anchors/{root.label}.pem
# RUN update-ca-trust
# Node.js and Python's requests bring roots of their own:
ENV NODE_EXTRA_CA_CERTS=/usr/local/share/ca-certificates/{root.label}.crt
ENV REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
# From inside of a container, the server on this machine is host.docker.internal; make the certificate for it:
#   securelight certs issue host.docker.internal"""


def _java(root: Root, file: str, url: str) -> str:
    return (
        f'export JAVA_TOOL_OPTIONS="-Djavax.net.ssl.trustStore={file} -Djavax.net.ssl.trustStoreType=PKCS12 '
        f'-Djavax.net.ssl.trustStorePassword={PASSWORD}"'
    )


def _python(root: Root, file: str, url: str) -> str:
    return f"""\
# requests, pip and httpx; then Python's own ssl, urllib and aiohttp.
export REQUESTS_CA_BUNDLE={file}
export SSL_CERT_FILE={file}"""


def _firefox(root: Root, file: str, url: str) -> str:
    return f"""\
# Every profile of this machine's Firefox. If there is a policies.json already, join the two by hand.
sudo install -D -m 0644 {file} /etc/firefox/policies/policies.json
# Restart Firefox; about:policies shows it. To undo, remove the file."""


def _chrome(root: Root, file: str, url: str) -> str:
    return f"""\
# Chrome; for Chromium the folder is /etc/chromium/policies/managed, for Edge /etc/opt/edge/policies/managed.
sudo install -D -m 0644 {file} /etc/opt/chrome/policies/managed/{root.label}.json
# Restart it; chrome://policy shows it. To undo, remove the file."""


TARGETS: Final[Mapping[str, Target]] = {
    "pem": Target("the certificate as PEM", lambda root, file, url: root.pem.decode().rstrip()),
    "der": Target("the certificate as DER", lambda root, file, url: file, "securelight-ca.der", _der),
    "bundle": Target("one file with the system's roots and ours", lambda root, file, url: file, "ca-bundle.crt",
                     combined_bundle),
    "curl": Target("curl", lambda root, file, url: f"curl --cacert {_own_path(root)} {shlex.quote(url)}"),
    "git": Target("Git, for this server alone", lambda root, file, url:
                  f"git config --global {shlex.quote(f'http.{url}.sslCAInfo')} {_own_path(root)}"),
    "node": Target("Node.js, npm, yarn, VS Code", lambda root, file, url:
                   f"export NODE_EXTRA_CA_CERTS={_own_path(root)}"),
    "python-requests": Target("Python: requests, pip, httpx, and ssl", _python, "ca-bundle.crt", combined_bundle),
    "java": Target("a program on Java", _java, "securelight-ca.p12", java_truststore),
    "docker": Target("images", _docker, "securelight-ca.crt", _pem),
    "wsl2": Target("Windows around this WSL", _wsl2),
    "windows": Target("another machine with Windows", _windows, "securelight-ca.cer", _der),
    "macos": Target("another machine with macOS", _macos, "securelight-ca.pem", _pem),
    "ios": Target("iPhone and iPad", _ios, "securelight-ca.mobileconfig", mobile_config),
    "android": Target("Android", _android, "securelight-ca.crt", _pem),
    "firefox-policy": Target("Firefox on every profile, by policy", _firefox, "policies.json", _firefox_policy),
    "chrome-policy": Target("Chrome, by policy", _chrome, "securelight-ca.json", _chrome_policy),
}  # fmt: skip
"""By the name that is asked for."""
