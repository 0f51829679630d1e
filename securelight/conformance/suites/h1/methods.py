"""Methods (RFC 9110, section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Skipped, Topic, bound
from securelight.conformance.http1_client import connect, request
from securelight.conformance.http1_questions import (
    ANSWERED,
    ANSWERED_CLOSED,
    DROPPED,
    REFUSED_OPEN,
    answered,
    exchange,
    filled,
    get,
    line,
    raw,
    sentinel,
)

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

METHODS = Topic(
    "Methods",
    rfc=9110,
    why="A client takes an answer for what it is not, or gets something done that nobody meant to offer.",
    cure="Serve GET and HEAD; answer known methods that are not for the page with 405 and Allow, others with 501.",
)
HEAD = Topic(
    "HEAD",
    rfc=9110,
    why="Content after an answer to HEAD is taken for the next answer: response smuggling.",
    cure="Answer HEAD as GET, and send no content.",
)
MISSING = b"/judge-finds-nothing-here"


def _with_method(target: Target, method: str) -> bytes:
    return request(target, method=method.encode())


_UNKNOWN = answered(405, 501) | ANSWERED_CLOSED
for _key, _method in {"unknown": "JUDGE", "long": "J" * 60, "all-characters": "!#$%&'*+-.^_`|~09azAZ"}.items():
    METHODS.should(f"h1/9110-9.1/{_key}", f"The method {_method}: 501 (or 405)", section="9.1")(
        raw(bound(_with_method, _method), _UNKNOWN, requests=2)
    )


def _case_counts(method: str) -> Question:
    ask = raw(bound(_with_method, method), answered(405, 501) | REFUSED_OPEN)

    async def question(dial: Dial) -> str:
        """A server that answers whatever method there is does not take this one for another: it looks at none."""
        if (await get(dial, method="JUDGE")).status < 300:
            raise Skipped("the server answers any method as it answers GET")
        return await ask(dial)

    return question


for _method in ("get", "Get", "head"):
    METHODS.must(f"h1/9110-9.1/case-{_method.replace('G', 'capital-g')}", f"{_method} is not {_method.upper()}",
                 section="9.1")(_case_counts(_method))  # fmt: skip
METHODS.must("h1/9110-9.1/get", "GET is served", section="9.1")(raw(request, ANSWERED))
METHODS.must("h1/9110-9.3.6/connect", "CONNECT to another port: no open proxy", section="9.3.6")(
    raw(
        filled(b"CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n"),
        REFUSED_OPEN | DROPPED | answered(403, 404, 405, 501) | ANSWERED_CLOSED,
    )
)
METHODS.must("h1/9110-7.7/other-site", "GET for another host in absolute form: no open proxy", section="7.6")(
    raw(line(b"GET http://127.0.0.1:9/ HTTP/1.1"), REFUSED_OPEN | DROPPED | answered(200, 301, 302, 307, 308, 403, 404))
)


@METHODS.must("h1/9110-15.5.6/allow", "405 has Allow", section="15.5.6")
async def _allow(dial: Dial) -> str:
    seen = []
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE"):
        answer = await get(dial, b"Content-Length: 0", method=method)
        if answer.status == 405:
            if answer.get(b"allow") is None:
                raise Failed(f"405 without Allow for {method}")
            seen.append(method)
    if not seen:
        raise Skipped("no method is answered with 405")
    return f"405 with Allow for {', '.join(seen)}"


@METHODS.must(
    "h1/9110-15.5.6/allow-is-true", "Allow of a 405 does not name the method that was refused", section="10.2.1"
)
async def _allow_is_true(dial: Dial) -> str:
    answer = await get(dial, b"Content-Length: 0", method="DELETE")
    if answer.status != 405 or answer.get(b"allow") is None:
        raise Skipped(f"DELETE is answered with {answer.status}")
    allowed = {one.strip() for one in (answer.get(b"allow") or b"").split(b",")}
    if b"DELETE" in allowed:
        raise Failed(f"405 for DELETE, and Allow: {answer.get(b'allow')!r}")
    return (answer.get(b"allow") or b"").decode("latin-1")


@METHODS.must(
    "h1/9110-9.2.1/get-after-delete", "DELETE and PUT of a page that is served: it stays as it is", section="9.2.1"
)
async def _get_after_delete(dial: Dial) -> str:
    path = MISSING + b"-made"
    await get(dial, b"Content-Length: 0", method="PUT", path=path)
    after = await get(dial, path=path)
    gone = await get(dial, path=MISSING)
    if after.status == 200 and gone.status != 200:
        raise Failed("a stranger could PUT a page")
    return f"{after.status} afterwards"


# OPTIONS and TRACE


@METHODS.should("h1/9110-9.3.7/options", "OPTIONS for the page: 2xx with Allow, or 405", section="9.3.7")
async def _options(dial: Dial) -> str:
    answer = await get(dial, method="OPTIONS")
    if answer.status not in (200, 204, 403, 405, 501):
        raise Failed(f"expected 200, 204, 405 or 501, but got {answer.status}")
    if answer.status in (200, 204, 405) and answer.get(b"allow") is None:
        raise Failed(f"{answer.status} without Allow")
    return f"{answer.status} with Allow: {(answer.get(b'allow') or b'').decode('latin-1')}"


METHODS.should("h1/9110-9.3.7/star", "OPTIONS for *", section="9.3.7")(
    raw(lambda target: request(target, method=b"OPTIONS", path=b"*"), answered(200, 204, 403, 405, 501))
)
METHODS.should("h1/9112-3.2.4/absolute", "OPTIONS for the server in absolute form", rfc=9112, section="3.2.4")(
    raw(line(b"OPTIONS {scheme}://{host} HTTP/1.1"), answered(200, 204, 403, 405, 501))
)
_SECRET = b"judge-secret-7391"


@METHODS.must("h1/9110-9.3.8/trace", "TRACE: refused, or the request itself as message/http", section="9.3.8")
async def _trace(dial: Dial) -> str:
    answer = await get(dial, b"X-Field: judge", method="TRACE")
    if answer.status == 200 and not (answer.get(b"content-type") or b"").startswith(b"message/http"):
        raise Failed(f"200 with Content-Type: {answer.get(b'content-type')!r}")
    return str(answer.status)


@METHODS.should("h1/9110-9.3.8/trace-secrets", "TRACE does not give cookies and passwords back", section="9.3.8")
async def _trace_secrets(dial: Dial) -> str:
    answer = await get(dial, b"Cookie: a=" + _SECRET, b"Authorization: Basic " + _SECRET, method="TRACE")
    if _SECRET in answer.body or any(_SECRET in value for _, value in answer.fields):
        raise Failed(f"{answer.status} with what Cookie or Authorization held")
    return str(answer.status)


# HEAD


@HEAD.must("h1/9110-9.3.2/no-content", "HEAD, for pages that are there and that are not: no content", section="9.3.2")
async def _no_content(dial: Dial) -> str:
    data = request(dial.target, method=b"HEAD") + request(dial.target, method=b"HEAD", path=MISSING)
    found = await exchange(dial, data + sentinel(dial.target), ["HEAD", "HEAD"])
    if len(found.answers) != 3:
        raise Failed(f"expected three answers, but got {found.words()}")
    return found.words()


@HEAD.must("h1/9110-8.6/length", "Content-Length of HEAD is that of GET", section="8.6")
async def _length(dial: Dial) -> str:
    page, head = await get(dial), await get(dial, method="HEAD")
    given = head.get(b"content-length")
    if head.status == page.status and given not in (None, b"%d" % len(page.body)):
        raise Failed(f"Content-Length: {given!r} for a page of {len(page.body)} bytes")
    return f"{head.status} with Content-Length: {given.decode() if given else 'none'}"


@HEAD.should("h1/9110-9.3.2/fields", "HEAD has the status and the fields of GET", section="9.3.2")
async def _same_fields(dial: Dial) -> str:
    page, head = await get(dial), await get(dial, method="HEAD")
    if page.status != head.status:
        raise Failed(f"GET is answered with {page.status}, HEAD with {head.status}")
    names = (b"content-type", b"etag", b"last-modified", b"cache-control", b"vary", b"content-encoding")
    other = [name.decode() for name in names if page.get(name) != head.get(name)]
    if other:
        raise Failed(f"other values, or none, of {', '.join(other)}")
    return "the same"


@HEAD.must("h1/9110-9.3.2/missing", "HEAD for a page that is not there has the status of GET", section="9.3.2")
async def _missing(dial: Dial) -> str:
    page, head = await get(dial, path=MISSING), await get(dial, method="HEAD", path=MISSING)
    if page.status != head.status:
        raise Failed(f"GET is answered with {page.status}, HEAD with {head.status}")
    return str(head.status)


@HEAD.must("h1/9112-6.3/old", "HEAD of HTTP/1.0: no content before the end", rfc=9112, section="6.3")
async def _old(dial: Dial) -> str:
    client = await connect(dial)
    await client.send(request(dial.target, method=b"HEAD", version=b"HTTP/1.0"))
    found = await client.all(["HEAD"])
    if len(found.answers) != 1:
        raise Failed(f"expected one answer, but got {found.words()}")
    return found.words()
