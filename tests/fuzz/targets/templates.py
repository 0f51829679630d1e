"""What is made of parts of a request: URLs, fields and log lines. No request breaks out of its place in them.

The first line of the input is a template, the rest goes into a request head.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from securelight.config.log_template import form_faults
from securelight.model.request import Facts, Request
from securelight.pipeline.template import field_template, template_faults, url_template
from securelight.protocol.h11_adapter import H11Adapter
from securelight.server.log_format import Entry, Format, Moment
from tests.protocol.http1_support import make

SEEDS = [
    b"/b{path}{?query}\n/a/%2e%2e//b.test?c=d",
    b'https://{host}/{query:c}\n/a?c=%0d%0aX:%20y HTTP/1.1\r\nCookie: a=b; c="d"',
    b'{request_header:Referer} "{target}" {user}\n/ HTTP/1.1\r\nReferer: https://a.test/?signature=x',
    b'{header:x-a}:{scheme}\n/%ff%00\xc3\xa9 HTTP/1.1\r\nX-A: \x80\xff\t"\\',
]
WORDS = [
    b"{path}",
    b"{?query}",
    b"{header:",
    b"{request_header:",
    b"{query:a}",
    b"{{",
    b"}}",
    b"https://",
    b"//",
    b"\\",
    b"@",
]
FIXED = [url_template("https://fixed.test{path}{?query}"), url_template("https://fixed.test/{query:c}/{header:x-a}")]
LINES = [Format("combined"), Format("json"), Format('{path} "{request_header:X-A}" {request_header:Referer}|{query}')]


def fuzz(data: bytes) -> None:
    written, _, asked = data.partition(b"\n")
    target, _, fields = asked.partition(b" HTTP/1.1\r\n")
    head = b"GET " + target + b" HTTP/1.1\r\nHost: a.test\r\n" + fields + b"\r\n\r\n"
    request = next(iter(make(H11Adapter).receive(head)), None)
    if not isinstance(request, Request):
        return
    facts = Facts("192.0.2.1")
    for url in FIXED:
        made = url(request, facts)
        assert made.isascii()
        assert made.isprintable()
        assert " " not in made
        assert urlsplit(made).netloc == "fixed.test"
    text = written.decode("latin-1")
    if text.isascii() and text.isprintable() and not template_faults(text):
        made = url_template(text)(request, facts)
        assert made.isascii()
        assert made.isprintable()
        assert "://" in text.partition("{")[0] or (made[:1] == "/" and made[:2] != "//")
        made = field_template(text)(request, facts)
        assert made.isascii()
        assert made.isprintable()
    moment = Moment()
    moment.look()
    entry = Entry(request, facts, 200, 1, 0.1, moment)
    good = text.isprintable() and text.isascii() and text != "off" and not form_faults(text)
    for form in [*LINES, Format(text)] if good else LINES:
        line = form.line(entry)
        assert line[-1:] == "\n"
        assert line[:-1].isprintable()
        assert line.isascii()
    json.loads(LINES[1].line(entry))
