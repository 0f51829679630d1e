"""What a case of the lab is: an endpoint with one thing wrong (or nothing), and what a correct client makes of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from securelight.lab.visit import Visit
    from securelight.lab.world import World


class Verdict(enum.StrEnum):
    """What a correct client does.

    ACCEPT: it loads the page. REFUSE: it does not, and says so. EITHER: the standards leave it open, or clients differ
    with good reason; the case is there to find out. WARN: it loads the page, and has to stop or report something in it.
    """

    ACCEPT = "accept"
    REFUSE = "refuse"
    EITHER = "either"
    WARN = "warn"


class Endpoint(Protocol):
    """What answers the connections of a case."""

    async def serve(self, stream: trio.SocketStream, first: bytes, visit: Visit) -> None:
        """Serve one connection, to its end. `first` has been read from it already; who calls closes the stream.

        Whatever a peer does may raise OSError, ssl.SSLError or trio.BrokenResourceError.
        """
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """One endpoint.

    Args:
        id: `family/name`, stable for ever: expected tables and CI jobs name it.
        title: what is wrong, in a few words.
        verdict: what a correct client does.
        reference: what says so.
        build: makes the endpoint for a host; may take seconds.
        host: where it is; `name.localhost` if empty.
        own_port: the fault lies below SNI, so the port alone names the case.
        not_offered: why it cannot be served here; empty if it can.
        path: of its URL.
        client_certificate: the client certificate that is to be shown to it (see World.client_chain), if any.
        advice: a sentence for those who want to know more; may be empty.
    """

    id: str
    title: str
    verdict: Verdict
    reference: str
    build: Callable[[World, str], Endpoint]
    host: str = ""
    own_port: bool = False
    not_offered: str = ""
    path: str = "/"
    client_certificate: str = ""
    advice: str = ""

    @property
    def family(self) -> str:
        """The first half of the id."""
        return self.id.partition("/")[0]

    @property
    def name(self) -> str:
        """The second half of the id."""
        return self.id.partition("/")[2]

    @property
    def host_name(self) -> str:
        """Where it is."""
        return self.host or f"{self.name}.localhost"


def never(_world: World, _host: str) -> Any:
    """The `build` of a case that is not offered."""
    raise AssertionError("this case is not offered")
