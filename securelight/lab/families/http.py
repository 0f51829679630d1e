"""Good TLS, and an answer that a browser has to do something about.

A client that only loads the page takes them all (WARN); what a browser has to do with each is in its title. Their
pages say themselves, by script, whether it was done: `data-result` of the root element is `right` or `wrong`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from securelight.lab.case import Case, Verdict, never
from securelight.lab.endpoints import HTTP1, ContextSettings, Https
from securelight.lab.visit import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.lab.visit import Request, Visit
    from securelight.lab.world import World

ACCEPT, WARN = Verdict.ACCEPT, Verdict.WARN
MIXED, CSP, COOKIES, HSTS = "W3C Mixed Content", "W3C CSP Level 3", "RFC 6265bis, section 5.7", "RFC 6797"
ALL_SECURE: Final = "browsers count plain HTTP to localhost as secure, so nothing is mixed on one's own machine"
HTML: Final = ("Content-Type", "text/html; charset=utf-8")
SECONDS: Final = 31_536_000

PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<title>{title}</title><h1>{title}</h1><p id="result">Looking ...</p>
<script>function result(right) {{
  document.documentElement.dataset.result = right ? "right" : "wrong";
  document.getElementById("result").textContent = right ? "This client does it right." : "This client does it wrong.";
}}</script>
{body}
"""


def _page(title: str, body: str, *fields: tuple[str, str]) -> Answer:
    return Answer(PAGE.format(title=title, body=body).encode(), fields=[HTML, *fields])


def build(world: World, host: str) -> Https:
    """All of them: HTTP/1.1, so that path and cookies are seen."""
    return Https(world.leaf(host), ContextSettings(alpn=(HTTP1,)))


def _plain(visit: Visit, path: str) -> str:
    assert visit.case is not None
    return f"http://{visit.case.host_name}:{visit.places.plain_port}{path}"


def _hsts(value: str) -> Callable[[Request, Visit], Answer]:
    return lambda request, visit: _page("Strict-Transport-Security", "<script>result(true)</script>",
                                        ("Strict-Transport-Security", value))  # fmt: skip


def _hsts_twice(_request: Request, _visit: Visit) -> Answer:
    return _page("Strict-Transport-Security, twice", "<script>result(true)</script>",
                 ("Strict-Transport-Security", f"max-age={SECONDS}"),
                 ("Strict-Transport-Security", "max-age=0"))  # fmt: skip


def _policy(_request: Request, visit: Visit) -> Answer:
    body = """<script nonce="lab">setTimeout(() => { if (!document.documentElement.dataset.result)
  document.documentElement.dataset.result = "right" }, 200)</script>
<script>document.documentElement.dataset.result = "wrong"</script>"""
    return Answer(
        PAGE.format(title="Content-Security-Policy", body=body).encode(),
        fields=[HTML, ("Content-Security-Policy", "default-src 'none'; script-src 'nonce-lab'")],
    )


def _redirect(_request: Request, visit: Visit) -> Answer:
    return Answer(b"", 302, [("Location", _plain(visit, "/"))])


def _redirect_loop(_request: Request, visit: Visit) -> Answer:
    assert visit.case is not None
    return Answer(b"", 302, [("Location", visit.places.url(visit.case))])


def _cookie(*cookies: str, name: str, kept: bool) -> Callable[[Request, Visit], Answer]:
    """The cookies are set, and a second request shows whether `name` was kept."""

    def answer(request: Request, _visit: Visit) -> Answer:
        if request.path == "/cookies":
            present = any(part.strip().startswith(f"{name}=") for part in request.cookies.split(";"))
            return Answer(b"kept" if present else b"dropped", fields=[("Content-Type", "text/plain")])
        wanted = "kept" if kept else "dropped"
        script = f'<script>fetch("/cookies").then(a => a.text()).then(t => result(t === "{wanted}"))</script>'
        return _page("Cookies", script, *(("Set-Cookie", cookie) for cookie in cookies))

    return answer


ANSWERS: Final[dict[str, Callable[[Request, Visit], Answer]]] = {
    "http/hsts": _hsts(f"max-age={SECONDS}"),
    "http/hsts-preload": _hsts(f"max-age={2 * SECONDS}; includeSubDomains; preload"),
    "http/hsts-zero": _hsts("max-age=0"),
    "http/hsts-invalid": _hsts("max-age=one year"),
    "http/hsts-twice": _hsts_twice,
    "http/hsts-address": _hsts(f"max-age={SECONDS}"),
    "http/csp-violation": _policy,
    "http/redirect-to-http": _redirect,
    "http/redirect-loop": _redirect_loop,
    "http/insecure-cookie": _cookie("session=1; Path=/", name="session", kept=True),
    "http/host-prefix-cookie": _cookie("__Host-session=1; Path=/", name="__Host-session", kept=False),
    "http/secure-prefix-cookie": _cookie("__Secure-session=1; Path=/", name="__Secure-session", kept=False),
    "http/good-cookie": _cookie("__Host-good=1; Path=/; Secure; HttpOnly; SameSite=Lax", name="__Host-good", kept=True),
}
"""What they answer, by id."""


def _case(name: str, title: str, verdict: Verdict, reference: str, host: str = "") -> Case:
    return Case(f"http/{name}", title, verdict, reference, build, host=host, own_port=host == "127.0.0.1")


CASES: Final = (
    _case("hsts", "Strict-Transport-Security for a year: no plain HTTP to this host from now on", WARN, HSTS),
    _case("hsts-preload", "the same with includeSubDomains and preload", WARN, HSTS),
    _case("hsts-zero", "max-age=0: the host is to be forgotten", WARN, HSTS),
    _case("hsts-invalid", "a value that is not one: to be ignored", WARN, "RFC 6797, section 6.1"),
    _case("hsts-twice", "two fields: only the first counts", WARN, "RFC 6797, section 8.1"),
    _case("hsts-address", "on an IP address: to be ignored", WARN, "RFC 6797, section 8.1.1", "127.0.0.1"),
    Case("http/mixed-script", "a script over HTTP: to be blocked", WARN, MIXED, never, not_offered=ALL_SECURE),
    Case("http/mixed-frame", "a frame over HTTP: to be blocked", WARN, MIXED, never, not_offered=ALL_SECURE),
    Case("http/mixed-fetch", "fetch over HTTP: to be blocked", WARN, MIXED, never, not_offered=ALL_SECURE),
    Case("http/mixed-form", "a form that is sent over HTTP: to be warned of", WARN, MIXED, never,
         not_offered=ALL_SECURE),
    Case("http/upgrade-insecure-requests", "a script over HTTP is to be asked for over HTTPS", WARN,
         "W3C Upgrade Insecure Requests", never, not_offered=ALL_SECURE),
    _case("csp-violation", "an inline script that the policy forbids: to be blocked", WARN, CSP),
    _case("redirect-to-http", "a redirect to plain HTTP", WARN, "RFC 9110, section 15.4"),
    _case("redirect-loop", "a redirect to itself: to be given up", WARN, "RFC 9110, section 15.4"),
    _case("insecure-cookie", "a session cookie without Secure, HttpOnly and SameSite", WARN, COOKIES),
    _case("host-prefix-cookie", "a __Host- cookie without Secure: to be dropped", WARN, COOKIES),
    _case("secure-prefix-cookie", "a __Secure- cookie without Secure: to be dropped", WARN, COOKIES),
    _case("good-cookie", "nothing wrong: a cookie with everything", ACCEPT, COOKIES),
)  # fmt: skip
