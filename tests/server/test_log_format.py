"""Templates of the access log: each field, and what no client can do to a line."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given, settings, strategies as st

from securelight.config.log_template import FIELDS, form_faults, form_warnings
from securelight.model.client_certificate import ClientCertificate
from securelight.model.errors import Refusal
from securelight.model.headers import Headers
from securelight.model.request import Facts, Peer, Request, TlsFacts
from securelight.server.log_format import ADDRESS_MARK, TIME_MARKS, Entry, Format, Moment

TLS = TlsFacts(version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", server_name="a.test", alpn="h2", resumed=True)
PEER = Peer("192.0.2.1", 4711, "192.0.2.9", 8443, TLS)


def request(target: bytes = b"/a?b=c", **headers: bytes) -> Request:
    fields = Headers([(name.replace("_", "-").encode(), value) for name, value in headers.items()])
    path, _, query = target.partition(b"?")
    text = path.decode("utf-8", "surrogateescape")
    return Request(
        "GET", text, fields, peer=PEER, target=target, query=query, http_version="2", stream_id=3,
        authority="a.test:8443", host="a.test",
    )  # fmt: skip


def line(form: str, asked: Request | None = None, facts: Facts | None = None, *, hide_query: bool = False) -> str:
    moment = Moment()
    moment.look()
    entry = Entry(asked or request(), facts or Facts("192.0.2.7"), 200, 625, 0.0125, moment)
    made = Format(form, hide_query=hide_query).line(entry)
    assert made.endswith("\n")
    return made[:-1]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("{method} {scheme}://{authority}{target} {protocol}", "GET https://a.test:8443/a?b=c HTTP/2"),
        ("{host} {path} {query} {status} {bytes}", "a.test /a b=c 200 625"),
        ("{client_address} {client_port} {local_address}:{local_port} {user}", "192.0.2.7 4711 192.0.2.9:8443 -"),
        ("{duration_ms} {duration_seconds} {stream}", "12.500 0.012500 3"),
        ("{tls_version} {cipher} {sni} {resumed}", "TLSv1.3 TLS_AES_128_GCM_SHA256 a.test yes"),
        ("{refusal} {error_id} {route} {certificate_subject}", "- - / -"),
        ("{request_header:Accept} {{}}", "- {}"),
        ('"{request}"', '"GET /a?b=c HTTP/2"'),
    ],
)
def test_each_field_is_what_it_says(form: str, text: str) -> None:
    assert form_faults(form) == []
    assert line(form) == text


def test_what_stages_found_out() -> None:
    facts = Facts("192.0.2.7")
    facts.user, facts.refusal, facts.error_id, facts.route_path = "a b|c", Refusal(403, "", "no | entry"), "e1", "/x y"
    facts.certificate = ClientCertificate(b"der", "CN=a|b", "07")
    shown = line("{user}|{refusal}|{error_id}|{route}|{certificate_subject}|{certificate_serial}", facts=facts)
    assert shown == "a\\x20b\\x7cc|no\\x20\\x7c\\x20entry|e1|/x\\x20y|CN=a\\x7cb|07"


def test_every_field_has_a_value() -> None:
    for field in FIELDS:
        assert line(f"{{{field}}}"), field


def test_named_formats() -> None:
    common = line("common")
    assert common.startswith("192.0.2.7 - - [")
    assert common.endswith('] "GET /a?b=c HTTP/2" 200 625')
    assert line("combined") == common + ' "-" "-"'
    assert line("vhost_combined") == f'a.test:8443 {common} "-" "-"'
    values = json.loads(line("json"))
    assert (values["target"], values["status"], values["duration_ms"]) == ("/a?b=c", 200, 12.5)


HOSTILE = [
    (b'x" 200 5 "', "\\x22"),
    (b"a\r\n192.0.2.66 - - forged", "\\x0d\\x0a"),
    (b"\x1b]0;evil\x07", "\\x1b"),
    (b"\xc2\x9b2J", "\\xc2\\x9b"),
    (b"back\\slash", "\\x5c"),
]


@pytest.mark.parametrize(("value", "escaped"), HOSTILE)
@pytest.mark.parametrize("form", ['"{request_header:a}"', "{request_header:a} {status}", "json", "combined"])
def test_a_client_cannot_leave_its_place(value: bytes, escaped: str, form: str) -> None:
    asked = request(a=value, user_agent=value, referer=value)
    text = line(form, asked)
    assert text.isprintable()
    assert text.isascii()
    if form == "json":
        assert json.loads(text)["user_agent"]
        return
    assert escaped in text
    assert text.count('"') == line(form, request(a=b"x", user_agent=b"x", referer=b"x")).count('"')


@given(st.text(max_size=20) | st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
@settings(max_examples=200)
@example("a\x9b31m\u202e\udc80")
def test_names_and_reasons_stay_in_their_line(value: str) -> None:
    facts = Facts("192.0.2.7")
    facts.user = value
    facts.refusal = Refusal(403, "", value)
    facts.certificate = ClientCertificate(b"der", value, "1")
    for form in ("json", "combined", '"{user}" "{refusal}" "{certificate_subject}"', "{user} {refusal}|"):
        assert line(form, facts=facts).isprintable()
    assert json.loads(line("json", facts=facts))["status"] == 200
    if value.isprintable():
        assert json.loads(line("json", facts=facts))["refusal"] == value


def test_bare_values_have_neither_spaces_nor_the_character_that_ends_them() -> None:
    asked = request(a=b"x 200|y\ty")
    assert line("{request_header:a} {status}", asked) == "x\\x20200|y\\x09y 200"
    assert line("{request_header:a}|{status}", asked) == "x\\x20200\\x7cy\\x09y|200"
    assert line('"{request_header:a}"|', asked) == '"x 200|y\\x09y"|', "quotes are enough"
    assert line("[{request_header:a}]", request(a=b"a] b")) == "[a\\x5d\\x20b]"


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_any_value_stays_one_value(value: bytes) -> None:
    asked = request(a=value)
    quoted, bare = line('{status} "{request_header:a}" {bytes}', asked), line("{request_header:a};{status}", asked)
    assert re.fullmatch(r'200 "[\x20-\x21\x23-\x7e]*" 625', quoted)
    assert re.fullmatch(r"[\x21-\x3a\x3c-\x7e]+;200", bare)


def test_secrets_are_not_written() -> None:
    asked = request(b"/f?expires=1&signature=c2VjcmV0&x=1", referer=b"https://a.test/f?signature=c2VjcmV0")
    for form in ("combined", "common", "json", "{target}", "{query}", '"{request}"', "{request_header:referer}"):
        text = line(form, asked)
        assert "c2VjcmV0" not in text, form
    assert "signature=...&x=1" in line("{target}", asked)
    assert "expires=1" in line("{query}", asked)


def test_queries_can_be_hidden() -> None:
    asked = request(b"/f?token=secret", referer=b"https://a.test/g?token=secret")
    for form in ("combined", "common", "json", "{target} {query}", '"{request}" {request_header:referer}'):
        text = line(form, asked, hide_query=True)
        assert "secret" not in text, form
        assert "/f" in text


def test_fields_with_secrets_are_warned_of() -> None:
    assert "authorization" in form_warnings("{request_header:Authorization}")[0]
    assert "cookie" in form_warnings("{path} {request_header:cookie}")[0]
    assert form_warnings("combined") == form_warnings("{request_header:accept}") == form_warnings("json") == []


@pytest.mark.parametrize("form", ["common", "combined", "vhost_combined", "{time_iso} {path} {client_address}"])
def test_a_line_that_is_given_again_is_the_same(form: str) -> None:
    moment = Moment()
    moment.look()
    again = Format(form).repeated(request(), 200, 625)
    assert again is not None
    again = again.replace(ADDRESS_MARK, "192.0.2.7")
    again = again.replace(TIME_MARKS["time"], moment.common).replace(TIME_MARKS["time_iso"], moment.iso)
    entry = Entry(request(), Facts("192.0.2.7"), 200, 625, 0.0125, moment)
    assert Format(form).line(entry) == again


@pytest.mark.parametrize("form", ["json", "{duration_ms}", "{cipher}", "{stream}", "{time_unix}", "{local_port}x"])
def test_a_line_that_says_more_is_made_anew(form: str) -> None:
    made = Format(form).repeated(request(), 200, 625)
    assert made is None
