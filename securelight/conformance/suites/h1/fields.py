"""Field lines (RFC 9112, section 5; RFC 9110, section 5)."""

from __future__ import annotations

from securelight.conformance.case import Topic
from securelight.conformance.http1_client import request
from securelight.conformance.http1_questions import (
    ANSWERED,
    ANSWERED_CLOSED,
    DROPPED,
    REFUSED,
    REFUSED_OPEN,
    Accept,
    asks,
    filled,
    raw,
)

FIELDS = Topic(
    "Field lines",
    rfc=9112,
    why="A field that one program sees and the next does not is how requests are smuggled past the first.",
    cure="Take `name:value CRLF` with a token for a name; answer any other line with 400 and close.",
)

_COLON = {
    "space": (b"X-Field : 1", "A space before the colon"),
    "tab": (b"X-Field\t: 1", "A tab before the colon"),
    "host": (b"Host : other.example", "A second Host with a space before the colon"),
    "content-length": (b"Content-Length : 0", "Content-Length with a space before the colon"),
}
for _key, (_line, _words) in _COLON.items():
    FIELDS.must(f"h1/5.1/white-space-before-colon-{_key}", _words)(asks(REFUSED_OPEN, _line))

_NAMES = {
    "space": (b"X Field", "with a space"),
    "parenthesis": (b"X(Field", "with a parenthesis"),
    "quote": (b'X"Field', "with a quotation mark"),
    "slash": (b"X/Field", "with a slash"),
    "at": (b"X@Field", "with an at sign"),
    "bracket": (b"X[Field", "with a bracket"),
    "brace": (b"X{Field", "with a brace"),
    "comma": (b"X,Field", "with a comma"),
    "semicolon": (b"X;Field", "with a semicolon"),
    "equals": (b"X=Field", "with an equals sign"),
    "backslash": (b"X\\Field", "with a backslash"),
    "nul": (b"X\x00Field", "with NUL"),
    "control": (b"X\x01Field", "with a control character"),
    "delete": (b"X\x7fField", "with DEL"),
    "byte-80": (b"X\x80Field", "with the byte 0x80"),
    "byte-ff": (b"X\xffField", "with the byte 0xff"),
    "vertical-tab": (b"X\x0bField", "with a vertical tab"),
}
for _key, (_name, _words) in _NAMES.items():
    FIELDS.should(f"h1/9110-5.1/name-with-{_key}", f"A field name {_words}", rfc=9110, section="5.1")(
        asks(REFUSED_OPEN, _name + b": 1")
    )
FIELDS.should("h1/9110-5.1/empty-name", "A field with an empty name", rfc=9110, section="5.1")(
    asks(REFUSED_OPEN, b": 1")
)
FIELDS.should("h1/5/no-colon", "A field line without a colon")(asks(REFUSED_OPEN, b"X-Field"))

FIELDS.must("h1/2.2/white-space-before-first-field", "White space before the first field: Transfer-Encoding")(
    # Refused, or the line is left out: then the sentinel is the next request.
    raw(
        filled(b"GET {path} HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: {host}\r\n\r\n"), REFUSED | ANSWERED
    )
)  # fmt: skip
FIELDS.must("h1/2.2/white-space-before-host", "White space before the first field: Host, so that there is none")(
    raw(filled(b"GET {path} HTTP/1.1\r\n Host: {host}\r\n\r\n"), REFUSED_OPEN)
)
FIELDS.must("h1/5.2/folded-length", "A folded Content-Length: refused, or `1 2`, which is to be refused too")(
    raw(lambda target: request(target, b"Content-Length: 1\r\n 2", method=b"POST"), REFUSED | DROPPED)
)
FIELDS.must("h1/5.2/folded-host", "A folded Host: refused, or two names with a space between, to be refused too")(
    raw(filled(b"GET {path} HTTP/1.1\r\nHost: {host}\r\n other.example\r\n\r\n"), REFUSED_OPEN)
)
FIELDS.must("h1/5.2/folded-field", "A folded field that looks like Transfer-Encoding: refused, or one field")(
    asks(REFUSED_OPEN | ANSWERED, b"X-Field: 1\r\n Transfer-Encoding: chunked")
)
FIELDS.must("h1/2.2/bare-cr-in-value", "A bare CR in a value, and Transfer-Encoding after it")(
    asks(REFUSED_OPEN | ANSWERED, b"X-Field: 1\rTransfer-Encoding: chunked")
)
FIELDS.should("h1/9110-5.5/nul-in-value", "NUL in a field value", rfc=9110, section="5.5")(
    asks(REFUSED_OPEN, b"X-Field: a\x00b")
)
FIELDS.should("h1/9110-5.5/bare-cr-refused", "A bare CR in a field value", rfc=9110, section="5.5")(
    asks(REFUSED_OPEN, b"X-Field: a\rb")
)

_GOOD = {
    "h1/5/no-space": (b"X-Field:1", "No space after the colon"),
    "h1/5/spaces-around": (b"X-Field: \t  1 \t ", "White space around a value"),
    "h1/9110-5.5/empty-value": (b"X-Field:", "An empty value"),
    "h1/9110-5.5/obs-text": (b"X-Field: caf\xc3\xa9", "Bytes above 0x7f in a value"),
    "h1/9110-5.5/inner-tab": (b"X-Field: a\tb  c", "A tab and spaces inside a value"),
    "h1/9110-5.5/visible": (b"X-Field: " + bytes(range(0x21, 0x7F)), "Every visible character in a value"),
    "h1/9110-5.1/all-name-characters": (
        b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ: 1",
        "A name with every character that is allowed",
    ),
    "h1/9110-5.3/repeated": (b"X-Field: 1\r\nX-Field: 2", "A name twice"),
}
for _key, (_line, _words) in _GOOD.items():
    FIELDS.must(
        _key,
        f"{_words}: that is right",
        rfc=9112 if "/5/" in _key else 9110,
        section=_key.split("/")[1][-3:].lstrip("-/"),
    )(asks(ANSWERED, _line))
FIELDS.must("h1/9110-5.1/case-of-names", "Field names in odd case: that is right", rfc=9110, section="5.1")(
    raw(filled(b"GET {path} HTTP/1.1\r\nhOsT: {host}\r\n\r\n"), ANSWERED)
)
FIELDS.must("h1/9110-5.1/case-of-length", "CONTENT-LENGTH counts as Content-Length", rfc=9110, section="5.1")(
    raw(
        lambda target: request(target, b"CONTENT-LENGTH: 7", method=b"POST", body=b"GET / H"),
        ANSWERED | ANSWERED_CLOSED,
    )
)
FIELDS.should("h1/9110-5.4/fifty-fields", "Fifty fields: that is right", rfc=9110, section="5.4")(
    asks(ANSWERED, *[b"X-Field-%d: 1" % number for number in range(50)])
)
_ANY = Accept(refused=True, refused_open=True, answered=True)
FIELDS.must("h1/9110-5.4/long-value", "A field of 200,000 bytes: taken, or refused with 4xx", rfc=9110, section="5.4")(
    asks(_ANY, b"X-Field: " + b"a" * 200_000)
)
FIELDS.must("h1/9110-5.4/many-fields", "5000 fields: taken, or refused with 4xx", rfc=9110, section="5.4")(
    asks(_ANY, *[b"X-Field-%d: 1" % number for number in range(5_000)])
)
