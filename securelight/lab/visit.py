"""One connection to the lab as the answers see it: which case it is for, and where the rest of the lab is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from securelight.lab.case import Case

Fields = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the lab listens.

    Args:
        address: IP address of all listeners.
        tls_port: shared by all cases that SNI tells apart.
        plain_port: HTTP without TLS.
        case_ports: ports of the cases that have one of their own, by id.
    """

    address: str
    tls_port: int
    plain_port: int
    case_ports: Mapping[str, int] = field(default_factory=dict)

    def port(self, case: Case) -> int:
        """Of a case."""
        return self.case_ports.get(case.id, self.tls_port)

    def url(self, case: Case) -> str:
        """Of a case."""
        return f"https://{case.host_name}:{self.port(case)}{case.path}"


@dataclass(slots=True)
class Visit:
    """See above.

    Attributes:
        case: what the connection is for; None for the index page.
        places: the rest of the lab.
        answer: gives the answer to a request.
        peer_certificate: the subject of the client certificate that was shown; "" if none was.
    """

    case: Case | None
    places: Places
    answer: Callable[[Request, Visit], Answer]
    peer_certificate: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """As much of a request as the lab looks at."""

    method: str
    path: str
    cookies: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Args:
        body: all of it.
        status: its code.
        fields: beside Content-Length, which is always there.
    """

    body: bytes
    status: int = 200
    fields: Fields = field(default_factory=list)
