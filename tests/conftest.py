"""Fixtures that tests of every folder use."""

from __future__ import annotations

import pytest

from tests.certificates import TestCertificates, make_test_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    """One authority and one pair (tests.certificates.DEFAULT_NAMES) for the whole run. Do not write to its files."""
    return make_test_certificates(tmp_path_factory.mktemp("certificates") / "certs")
