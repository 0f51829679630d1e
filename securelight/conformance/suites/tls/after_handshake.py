"""Handshake messages after the handshake: renegotiation, KeyUpdate, a second ClientHello."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.tls_messages import Messages, connect

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial

AFTERWARDS = Topic(
    "Messages after the handshake",
    rfc=8446,
    why="A renegotiation costs a server a hundred times what it costs a client, and has let attackers into sessions.",
    cure="Refuse renegotiation (OpenSSL: SSL_OP_NO_RENEGOTIATION); end the connection for what is out of place.",
)
TLS_1_2, TLS_1_3 = (3, 3), (3, 4)


def _hello(verify_data: bytes) -> Any:
    library = importlib.import_module("tlslite.messages")
    extensions = importlib.import_module("tlslite.extensions")
    info = extensions.RenegotiationInfoExtension().create(bytearray(verify_data))
    others = [
        extensions.TLSExtension(extType=kind).create(bytearray(content))
        for kind, content in (tls.hello_1_2().extensions or {}).items()
        if kind != tls.RENEGOTIATION_INFO
    ]
    return library.ClientHello().create(
        (3, 3), bytearray(range(32)), bytearray(), list(tls.SUITES_1_2), extensions=[info, *others]
    )


async def _reaction(messages: Messages) -> str:
    """How the server ends the connection; Failed if it does not."""
    library = messages.library
    try:
        data = await messages.read()
    except library.TLSRemoteAlert as alert:
        return f"alert {alert}"
    except library.TLSLocalAlert as alert:
        raise Failed(f"the server went on with a handshake, and the client had to end it: {alert}") from None
    except (library.TLSError, OSError) as error:
        return f"the connection ended: {error or type(error).__name__}"
    if data:
        raise Failed(f"the server went on with {data[:40]!r}")
    return messages.wire.end_words or "closed"


def _second_hello(version: tuple[int, int], *alpn: str) -> Question:
    async def question(dial: Dial) -> str:
        messages = await connect(dial, version, *alpn)
        if alpn and bytes(messages.connection.session.appProto or b"").decode() not in alpn:
            raise Skipped(f"{alpn[0]} is not spoken")
        await messages.send(_hello(messages.verify_data), "a second ClientHello, encrypted")
        return await _reaction(messages)

    return question


AFTERWARDS.must("tls/4.1.2/second-hello", "TLS 1.3: a second ClientHello after the handshake")(
    _second_hello(TLS_1_3, "http/1.1")
)
AFTERWARDS.should("tls/5746-5/renegotiation", "TLS 1.2: the client renegotiates", rfc=5746, section="5")(
    _second_hello(TLS_1_2, "http/1.1")
)


def _key_update(kind: int) -> Any:
    return importlib.import_module("tlslite.messages").KeyUpdate().create(kind)


@AFTERWARDS.must("tls/4.6.3/key-update", "A KeyUpdate that asks for one, then a request")
async def key_update(dial: Dial) -> str:
    """It is answered with the new keys of both sides."""
    messages = await connect(dial, TLS_1_3, "http/1.1")
    await messages.run(messages.connection.send_keyupdate_request(1))
    target = dial.target
    request = f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n"
    await messages.run(messages.connection.writeAsync(request.encode()))
    try:
        answer = await messages.read()
    except (messages.library.TLSError, OSError) as error:
        raise Failed(f"the connection ended: {error or type(error).__name__}") from None
    if not answer.startswith(b"HTTP/1."):
        raise Failed(f"expected an answer of HTTP/1.1, but got {answer[:40]!r}")
    return answer[:15].decode("ascii", "replace")


@AFTERWARDS.must("tls/4.6.3/wrong-key-update", "A KeyUpdate with a value that there is not")
async def wrong_key_update(dial: Dial) -> str:
    """The connection ends with illegal_parameter."""
    messages = await connect(dial, TLS_1_3, "http/1.1")
    await messages.send(_key_update(2), "a KeyUpdate with the value 2")
    return await _reaction(messages)
