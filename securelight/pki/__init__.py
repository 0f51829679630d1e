"""Certificates: our own authority, what it signs, what they say, and who trusts it.

`Authority` is for programs and tests (see docs/certificates.md); it is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securelight.model.errors import CertificateError
    from securelight.pki.authority import Authority
    from securelight.pki.issue import Issued

__all__ = ["Authority", "CertificateError", "Issued"]

_HOMES: Final[Mapping[str, str]] = {
    "Authority": "securelight.pki.authority",
    "CertificateError": "securelight.model.errors",
    "Issued": "securelight.pki.issue",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
