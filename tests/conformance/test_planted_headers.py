"""The judge of headers is judged: servers whose answers have one fault each; and the grade explains itself."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest
import trio

from securelight.conformance.case import Outcome
from securelight.conformance.grade import grade_of
from securelight.conformance.target import parse_target
from tests.certificates import make_test_certificates
from tests.conformance.support import failed_ids, suites
from tests.conformance.test_planted_tls import judge_server
from tests.conformance.tls_server import GOOD_FIELDS, Fault, Server, answer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.certificates import TestCertificates

Fields = tuple[tuple[bytes, bytes], ...]
TARGET = parse_target("https://site.example/")
COOKIE = (b"Set-Cookie", b"__Host-id=1; Path=/; Secure; HttpOnly; SameSite=Lax")


def _with(name: str, value: str | None) -> Fault:
    """A field has another value, or is missing."""
    rest = tuple(one for one in GOOD_FIELDS if one[0].decode().lower() != name.lower())
    return Fault(fields=rest if value is None else (*rest, (name.encode(), value.encode())))


def _more(*fields: tuple[str, str]) -> Fault:
    return Fault(fields=GOOD_FIELDS + tuple((name.encode(), value.encode()) for name, value in fields))


def _cookie(value: str) -> Fault:
    return _more(("Set-Cookie", value))


def _when(pattern: bytes, change: Callable[[re.Match[bytes], Fields], Fields]) -> Fault:
    """Other fields for some requests."""

    def respond(request: bytes, fields: Fields) -> bytes:
        found = re.search(pattern, request)
        return answer_of(request, change(found, fields) if found else fields)

    return Fault(respond=respond)


def _on_missing(name: bytes) -> Fault:
    return _when(rb"no/such", lambda _, fields: tuple(one for one in fields if one[0] != name))


def _echo(pattern: bytes, *more: tuple[bytes, bytes]) -> Fault:
    """CORS for whoever the pattern takes."""
    return _when(pattern, lambda found, fields: (*fields, (b"Access-Control-Allow-Origin", found[1]), *more))


def _redirects(pattern: bytes, prefix: bytes = b"") -> Fault:
    def respond(request: bytes, fields: Fields) -> bytes:
        found = re.search(pattern, request)
        answer = answer_of(request, (*fields, (b"Location", prefix + found[1])) if found else fields)
        return answer.replace(b"200 OK", b"301 Moved", 1) if found else answer

    return Fault(respond=respond)


CSP = "Content-Security-Policy"
FAULTS: dict[str, tuple[Fault, str, *tuple[str, ...]]] = {
    "no HSTS": (_with("Strict-Transport-Security", None), "headers/6797-7.1/present"),
    "HSTS of zero": (_with("Strict-Transport-Security", "max-age=0"), "headers/6797-7.1/present"),
    "HSTS of a day": (_with("Strict-Transport-Security", "max-age=86400"), "headers/6797-7.1/long"),
    "HSTS without max-age": (_with("Strict-Transport-Security", "includeSubDomains"), "headers/6797-6.1/form",
                             "headers/6797-7.1/long"),
    "HSTS with max-age twice": (_with("Strict-Transport-Security", "max-age=63072000; max-age=63072000"),
                                "headers/6797-6.1/form", "headers/6797-7.1/long"),
    "HSTS twice": (_more(("Strict-Transport-Security", "max-age=63072000")), "headers/6797-7.1/once"),
    "no HSTS on errors": (_on_missing(b"Strict-Transport-Security"), "headers/6797-7.1/errors"),
    "no nosniff": (_with("X-Content-Type-Options", None), "headers/fetch/nosniff", "headers/fetch/nosniff-errors"),
    "no nosniff on errors": (_on_missing(b"X-Content-Type-Options"), "headers/fetch/nosniff-errors"),
    "no charset": (_with("Content-Type", "text/html"), "headers/9110-8.3/charset"),
    "a type of one word": (_with("Content-Type", "html"), "headers/9110-8.3/type"),
    "no policy": (_with(CSP, None), "headers/csp/present", "headers/csp/framing"),
    "scripts in the page": (_with(CSP, "default-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; "
                                       "frame-ancestors 'none'"), "headers/csp/scripts"),
    "scripts from anywhere": (_with(CSP, "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
                              "headers/csp/scripts"),
    "any base": (_with(CSP, "default-src 'self'; frame-ancestors 'none'"), "headers/csp/objects"),
    "any frame": (_with(CSP, "default-src 'self'; base-uri 'none'"), "headers/csp/framing"),
    "no Referrer-Policy": (_with("Referrer-Policy", None), "headers/referrer/policy"),
    "whole addresses for all": (_with("Referrer-Policy", "unsafe-url"), "headers/referrer/policy"),
    "no Permissions-Policy": (_with("Permissions-Policy", None), "headers/permissions/policy"),
    "no opener policy": (_with("Cross-Origin-Opener-Policy", None), "headers/isolation/opener"),
    "no resource policy": (_with("Cross-Origin-Resource-Policy", None), "headers/isolation/resource"),
    "pinned keys": (_more(("Public-Key-Pins", "max-age=1")), "headers/isolation/retired"),
    "the old filter": (_more(("X-XSS-Protection", "1; mode=block")), "headers/isolation/retired"),
    "a version": (_more(("Server", "Tide/1.2.3")), "headers/9110-10.2.4/server"),
    "what it is made with": (_more(("X-Powered-By", "Tide")), "headers/9110-10.2.4/powered-by"),
    "a cookie in the clear": (_cookie("id=1; HttpOnly; SameSite=Lax"), "headers/6265bis/secure"),
    "a cookie for scripts": (_cookie("id=1; Secure; SameSite=Lax"), "headers/6265bis/http-only"),
    "a cookie for all sites": (_cookie("id=1; Secure; HttpOnly"), "headers/6265bis/same-site"),
    "a prefix without its path": (_cookie("__Host-id=1; Path=/a; Secure; HttpOnly; SameSite=Lax"),
                                  "headers/6265bis/prefixes"),
    "SameSite=None in the clear": (_cookie("id=1; HttpOnly; SameSite=None"), "headers/6265bis/none-secure",
                                   "headers/6265bis/secure"),
    "cookies in shared caches": (Fault(fields=(*_with("Cache-Control", "public, max-age=60").fields, COOKIE)),
                                 "headers/9111-7.3/cookies"),
    "any origin": (_echo(rb"Origin: (https://stranger\.example)\r"), "headers/cors/stranger", "headers/cors/preflight"),
    "the null origin": (_echo(rb"Origin: (null)\r"), "headers/cors/null"),
    "everybody with credentials": (
        _more(("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Credentials", "true")),
        "headers/cors/stranger", "headers/cors/*"),
    "preflights for all": (_echo(rb"(?s)OPTIONS .*Origin: ([^\r]*)"), "headers/cors/preflight"),
    "origins without an anchor": (_echo(rb"Origin: (https://site\.example\.[^\r]*)\r"), "headers/cors/lookalike"),
    "permission without Vary": (_echo(rb"Origin: (https://site\.example)\r"), "headers/9110-12.5.5/vary"),
    "no Date": (_with("Date", None), "headers/9110-6.6.1/date"),
    "changed tomorrow": (_more(("Last-Modified", "Tue, 03 Nov 2026 12:00:00 GMT")), "headers/9110-8.8.2/last-modified"),
    "nothing for caches": (_with("Cache-Control", None), "headers/9111-5.2/explicit"),
    "the path is a redirect": (_redirects(rb"GET (//stranger[^ ]*)"), "headers/redirects/slashes",
                               "headers/redirects/dots"),
    "the host is a redirect": (_redirects(rb"Host: (stranger\.example)", b"https://"), "headers/redirects/host"),
    "out of TLS": (_redirects(rb"GET (/) ", b"http://site.example"), "headers/redirects/no-downgrade"),
    "fields from the path": (_when(rb"(?i)%0d%0a", lambda _, fields: (*fields, (b"Injected", b"yes"))),
                             "headers/redirects/line-break"),
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return make_test_certificates(tmp_path_factory.mktemp("headers"))


@pytest.fixture(autouse=True)
def site_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the site leads to this machine."""

    async def addresses(*_args: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(2, 1, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(trio.socket, "getaddrinfo", addresses)


def test_nobody_wants_hsts_for_localhost(pair: TestCertificates) -> None:
    run = judge_server(suites("headers"), Server(pair, FAULTS["no HSTS"][0]), parse_target("https://localhost/"))
    assert failed_ids(run) == []
    assert "Headers: grade A, 100 of 100 points." in run.notes


def test_the_right_server_passes_whole_with_grade_a(pair: TestCertificates) -> None:
    run = judge_server(suites("headers"), Server(pair, Fault(fields=(*GOOD_FIELDS, COOKIE))), TARGET)
    assert failed_ids(run) == []
    skipped = {result.case.id for result in run.results if result.outcome is Outcome.SKIPPED}
    assert skipped == {"headers/9110-8.8.2/last-modified", "headers/9110-12.5.5/vary"}
    assert "Headers: grade A, 100 of 100 points." in run.notes


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_its_own_case_and_no_unrelated_one(name: str, pair: TestCertificates) -> None:
    fault, own, *related = FAULTS[name]
    run = judge_server(suites("headers"), Server(pair, fault), TARGET)
    failed = failed_ids(run)
    assert own in failed, [result.words for result in run.results if result.case.id == own]
    assert [one for one in failed if not any(fnmatchcase(one, pattern) for pattern in (own, *related))] == []


@pytest.mark.parametrize(
    ("name", "letter"),
    [("no Permissions-Policy", "A"), ("no HSTS", "B"), ("no policy", "C"), ("the null origin", "D"),
     ("the path is a redirect", "F")],
)  # fmt: skip
def test_the_grade_falls_with_what_is_missing_and_tells_the_cure(
    name: str, letter: str, pair: TestCertificates
) -> None:  # fmt: skip
    run = judge_server(suites("headers"), Server(pair, FAULTS[name][0]), TARGET)
    grade = grade_of(run.results)
    assert grade is not None
    assert grade.letter == letter
    assert grade.points == 100 - sum(reason.points for reason in grade.reasons)
    assert {reason.result.case.id for reason in grade.reasons} == set(failed_ids(run))
    assert all(reason.result.case.cure in "\n".join(run.notes) for reason in grade.reasons)


def test_there_is_no_grade_where_nothing_was_asked() -> None:
    assert grade_of([]) is None
