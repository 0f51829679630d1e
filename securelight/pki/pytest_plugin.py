"""Fixtures for tests of programs that speak TLS: `authority`, `server_certificate`, `client_certificate`.

pytest finds them by itself where securelight is installed; see docs/certificates.md. All is made when a test first asks
for it, in memory, once a run. A fixture of the same name in a conftest.py comes before these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from securelight.pki.authority import Authority
    from securelight.pki.issue import Issued


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A new certificate authority for local names."""
    from securelight.pki.authority import Authority  # noqa: PLC0415 - not for every run of pytest

    return Authority()


@pytest.fixture(scope="session")
def server_certificate(authority: Authority) -> Issued:
    """For a server on this machine: localhost, 127.0.0.1 and ::1."""
    return authority.issue("localhost", "127.0.0.1", "::1")


@pytest.fixture(scope="session")
def client_certificate(authority: Authority) -> Issued:
    """For the user `client`."""
    return authority.issue(client=True, user="client")
