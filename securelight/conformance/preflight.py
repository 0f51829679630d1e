"""What is found out about a server before it is judged: whether it can be reached, whom its certificate convinces, and
what a plain request is answered with.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import trio

from securelight.conformance.case import Failed, Skipped
from securelight.conformance.dial import Baseline, Connect, Dial, Patience
from securelight.conformance.target import TargetError
from securelight.conformance.wire import HandshakeFailed, Unreachable

if TYPE_CHECKING:
    from pathlib import Path

    from securelight.conformance.target import Target

MAXIMUM_HEAD_BYTES = 65_536


@dataclass(slots=True)
class Preflight:
    """What was found.

    Attributes:
        baseline: see Baseline.
        server: the Server field.
        notes: for the reader of the report.
    """

    baseline: Baseline = field(default_factory=Baseline)
    server: str = ""
    notes: list[str] = field(default_factory=list)


async def look(target: Target, connect: Connect, patience: Patience, ca: Path | None) -> Preflight:
    """Look at the server.

    Args:
        target: the server.
        connect: how to connect to it.
        patience: how long to wait.
        ca: a PEM file with the authorities to trust instead of the system's.

    Errors: TargetError if it cannot be reached or speaks no TLS.
    """
    found = Preflight()
    dial = Dial(target, Baseline(), patience, connect)
    try:
        if target.tls:
            await _look_at_certificate(dial, found, ca)
        try:
            await _ask_http2(dial, found)
        except Skipped as skipped:
            found.notes.append(f"{skipped}.")
            await _ask_http1(dial, found)
        except Failed:
            if target.tls:
                raise
            await _ask_http1(dial, found)  # without TLS, nobody said which protocol it speaks
    except (Unreachable, HandshakeFailed) as error:
        raise TargetError(f"{target.url}: {error}") from None
    except Failed as error:
        found.notes.append(f"A plain request was not answered: {error}.")
    finally:
        await dial.close()
    if not found.baseline.status and not found.notes:
        found.notes.append("A plain request was not answered.")
    if found.baseline.status >= 400:
        found.notes.append(
            f"{target.url} is answered with {found.baseline.status}: choose a URL that has a page, or some cases "
            "cannot tell much."
        )
    return found


async def _look_at_certificate(dial: Dial, found: Preflight, ca: Path | None) -> None:
    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        await dial.tls(context=context)
    except HandshakeFailed as error:
        if error.reason != "CERTIFICATE_VERIFY_FAILED":
            raise
        why = re.sub(r" \(_ssl\.c:\d+\)$", "", str(error).partition("certificate verify failed: ")[2])
        found.notes.append(f"The certificate is not trusted here ({why}). The judgment goes on all the same.")
    except Failed as error:
        raise TargetError(f"{dial.target.url}: {error}") from None


async def _ask_http2(dial: Dial, found: Preflight) -> None:
    client = await dial.http2({})
    await client.send(client.head(1))
    await client.until(lambda: client.ended(1))
    answer = client.answers.get(1)
    if answer is None or not answer.status:
        raise Failed(client.situation(1))
    found.baseline = Baseline(answer.status, len(answer.body))
    found.server = dict(answer.fields).get(b"server", b"").decode("ascii", "replace")


async def _ask_http1(dial: Dial, found: Preflight) -> None:
    wire = await dial.tls(("http/1.1",))
    target = dial.target
    await wire.send(f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    with trio.move_on_after(dial.patience.answer):
        while len(answer) < MAXIMUM_HEAD_BYTES and (data := await wire.receive()):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.1 ([1-5]\d\d)", head)
    if status is None:
        raise Failed(f"no HTTP/1.1 answer, but {head[:80]!r}")
    found.baseline = Baseline(int(status[1]), len(body))
    found.server = _field(b"server", head)
    secure = replace(target, scheme="https")
    if not target.tls and _field(b"location", head).startswith(f"https://{secure.authority}/"):
        raise TargetError(f"{target.url}: this port is for TLS, name {secure.url}")


def _field(name: bytes, head: bytes) -> str:
    found = re.search(rb"(?im)^" + name + rb":[ \t]*(.*?)[ \t]*\r?$", head)
    return found[1].decode("ascii", "replace") if found else ""


async def answers(target: Target, connect: Connect, seconds: float) -> bool:
    """Whether the server takes connections, or does again within `seconds`."""
    with trio.move_on_after(seconds):
        while True:
            dial = Dial(target, connect=connect, patience=Patience(connect=min(seconds, 2.0)))
            try:
                await dial.tls(("h2", "http/1.1"))
            except HandshakeFailed as error:
                if error.reason != "CLOSED":
                    return True
            except (Unreachable, Failed):
                pass
            else:
                return True
            finally:
                await dial.close()
            await trio.sleep(0.1)
    return False
