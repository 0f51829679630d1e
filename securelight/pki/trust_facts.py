"""What one should know of a root before trusting it: that it is one, until when, and how far its word reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from securelight.model.errors import CertificateError
from securelight.pki.constraints import describe_constraints
from securelight.pki.identities import UNREADABLE

if TYPE_CHECKING:
    from datetime import datetime

    from securelight.pki.trust_root import Root


@dataclass(frozen=True, slots=True)
class RootFacts:
    """See above.

    Args:
        name: its common name, or its whole subject.
        not_after: valid until, UTC.
        limits: what it may sign for, in one line; "" if for everything.
    """

    name: str
    not_after: datetime
    limits: str


def root_facts(root: Root) -> RootFacts:
    """Look into the certificate.

    Errors: CertificateError for one that cannot be read, or is not an authority's: to trust that would do nothing.
    """
    try:
        certificate = x509.load_der_x509_certificate(root.der)
        extensions = certificate.extensions
        is_authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        name = str(names[0].value) if names else certificate.subject.rfc4514_string()
    except x509.ExtensionNotFound:
        is_authority = False
    except UNREADABLE as error:
        raise CertificateError(str(root.path), "holds a certificate that cannot be read") from error
    if not is_authority:
        raise CertificateError(str(root.path), "is not the certificate of an authority, so nothing can trust it as one")
    try:
        limits = describe_constraints(extensions.get_extension_for_class(x509.NameConstraints).value)
    except x509.ExtensionNotFound:
        limits = ""
    return RootFacts(name, certificate.not_valid_after_utc, limits)
