"""GETs with a Python client, `ssl`, `requests` or `httpx`: a question a line on stdin, an answer a line on stdout.

A question is `{"id", "url", "ca", "cert", "key"}`, an answer `{"id", "ok", "words"}`, both JSON. Each question has a
connection and a context of its own; several are asked at once, in threads.
"""

from __future__ import annotations

import concurrent.futures
import json
import socket
import ssl
import sys
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

SECONDS = 4.0
THREADS = 16
writing = threading.Lock()
look_up = socket.getaddrinfo


def loopback(host: Any, *arguments: Any, **named: Any) -> Any:
    """`*.localhost` is loopback (RFC 6761), which many C libraries do not know."""
    return look_up("127.0.0.1" if str(host).endswith(".localhost") else host, *arguments, **named)


def ask_ssl(url: str, ca: str, cert: str, key: str) -> None:
    """With urllib and its ssl."""
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])  # as http.client does for the contexts that it makes itself
    if cert:
        context.load_cert_chain(cert, key)
    opener = urllib.request.OpenerDirector()  # follows no redirects
    opener.add_handler(urllib.request.HTTPSHandler(context=context))
    with opener.open(url, timeout=SECONDS) as answer:
        answer.read()


def ask_requests(url: str, ca: str, cert: str, key: str) -> None:
    """With the package requests."""
    import requests  # type: ignore[import-untyped, import-not-found, unused-ignore]  # noqa: PLC0415

    requests.get(url, verify=ca, cert=(cert, key) if cert else None, timeout=SECONDS, allow_redirects=False)


def ask_httpx(url: str, ca: str, cert: str, key: str) -> None:
    """With the package httpx."""
    import httpx  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    context = ssl.create_default_context(cafile=ca)
    if cert:
        context.load_cert_chain(cert, key)
    httpx.get(url, verify=context, timeout=SECONDS)


CLIENTS: dict[str, Callable[[str, str, str, str], None]] = {
    "python": ask_ssl,
    "requests": ask_requests,
    "httpx": ask_httpx,
}


def answer(question: dict[str, str], client: Callable[[str, str, str, str], None]) -> None:
    """Ask, and print the answer."""
    ok, words = True, ""
    try:
        client(question["url"], question["ca"], question["cert"], question["key"])
    except Exception as error:  # whatever it is, it is a refusal
        ok, words = False, f"{type(error).__name__}: {error}"
    line = json.dumps({"id": question["id"], "ok": ok, "words": words}) + "\n"
    with writing:
        sys.stdout.write(line)
        sys.stdout.flush()


def main(name: str) -> None:
    """Until stdin ends."""
    socket.getaddrinfo = loopback
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        for line in sys.stdin:
            threads.submit(answer, json.loads(line), CLIENTS[name])


if __name__ == "__main__":
    main(sys.argv[1])
