"""What a client is told about a case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from securelight.lab.case import Case
    from securelight.lab.check.outcome import Answer


@dataclass(frozen=True, slots=True)
class Question:
    """What the placeholders of a command stand for.

    Args:
        url: of the case.
        ca: file with the lab's authority.
        host: of the URL.
        port: of the URL.
        proxy: URL of an HTTP proxy that knows the hosts of the lab.
        cert: file with a client certificate.
        key: file with its key.
        directory: where these are.
    """

    url: str
    ca: str
    host: str
    port: str
    proxy: str
    cert: str
    key: str
    directory: str

    def fill(self, argument: str) -> str:
        """`argument` with its placeholders replaced; other braces stay."""
        for name in self.__slots__:
            argument = argument.replace("{" + name + "}", getattr(self, name))
        return argument


class Client(Protocol):
    """Whoever can be asked."""

    async def ask(self, case: Case, question: Question, seconds: float) -> Answer:
        """Load the page of a case."""
        ...
