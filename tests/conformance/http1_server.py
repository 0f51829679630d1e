"""A small HTTP/1.1 server that is right in all that the judge asks, and can be made wrong in one way at a time.

It owes nothing to the project's own adapters: a third reading of RFC 9110 and RFC 9112.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import formatdate

import trio

BODY = b"<p>High water at noon.</p>" * 100
ETAG = b'"tide-1"'
MODIFIED = datetime(2025, 3, 9, 8, 49, 37, tzinfo=UTC)
LAST_MODIFIED = b"Sun, 09 Mar 2025 08:49:37 GMT"
FORMATS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
KNOWN = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")
ALLOW = (b"Allow", b"GET, HEAD, POST, OPTIONS")
MOST_HEAD_BYTES, MOST_TARGET_BYTES, MOST_LINE_BYTES = 32_768, 10_000, 4_096
REASONS = {416: "Range Not Satisfiable"}
Fields = list[tuple[bytes, bytes]]


class Refused(Exception):
    def __init__(self, status: int = 400) -> None:
        self.status = status


class Ended(Exception):
    pass


class SmallServer:
    def __init__(self, stream: trio.abc.Stream, faults: frozenset[str]) -> None:
        self.stream = stream
        self.faults = faults
        self.held = b""
        self.method = b""
        self.close = self.old = self.expects = False

    def wrong(self, fault: str) -> bool:
        return fault in self.faults

    # Input

    async def more(self) -> None:
        data = bytes(await self.stream.receive_some(65_536))
        if not data:
            raise Ended
        self.held += data

    async def until(self, end: bytes, most: int, status: int) -> bytes:
        while (place := self.held.find(end)) < 0:
            if len(self.held) > most:
                raise Refused(status)
            await self.more()
        if place > most:
            raise Refused(status)
        taken, self.held = self.held[:place], self.held[place + len(end) :]
        return taken

    async def take(self, count: int) -> bytes:
        while len(self.held) < count:
            await self.more()
        taken, self.held = self.held[:count], self.held[count:]
        return taken

    async def head(self) -> tuple[bytes, bytes, Fields]:
        while self.held[:2] in (b"", b"\r", b"\r\n"):
            if self.held[:2] == b"\r\n":
                if self.wrong("empty lines are an error"):
                    raise Refused
                self.held = self.held[2:]
            else:
                await self.more()
        while b"\r\n\r\n" not in self.held and len(self.held) <= MOST_HEAD_BYTES:
            if re.search(rb"\r(?=[^\n])", self.held) and not self.wrong("bare CR is taken"):
                raise Refused
            await self.more()
        line = self.held.partition(b"\r\n")[0]
        if len(line) > MOST_TARGET_BYTES:
            raise Refused(400 if self.wrong("long targets are a 400") else 414)
        text = await self.until(b"\r\n\r\n", MOST_HEAD_BYTES, 500 if self.wrong("large heads are a 500") else 431)
        first, *lines = re.split(rb"\r\n|\r" if self.wrong("bare CR is taken") else rb"\r\n", text)
        method, target, version = self.line(first)
        self.method = method
        self.old = version == b"HTTP/1.0"
        fields = [self.field(one) for one in lines if one]
        self.host(target, fields)
        return method, target, fields

    def line(self, line: bytes) -> tuple[bytes, bytes, bytes]:
        space = rb"[ \t]+" if self.wrong("any white space is taken") else b" "
        version = rb"(?i:HTTP)/1\.\d+" if self.wrong("versions may be anything") else rb"HTTP/\d\.\d"
        name = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
        match = re.fullmatch(b"(" + name + b")" + space + rb"([!-~]+)" + space + b"(" + version + b")", line)
        if match is None:
            raise Refused
        method, target, version = match.groups()
        if version[5:6] != b"1" and not self.wrong("HTTP/2.0 is taken"):
            raise Refused(505)
        if self.wrong("1.2 is refused") and version == b"HTTP/1.2":
            raise Refused(505)
        if self.wrong("methods have no case"):
            method = method.upper()
        if self.wrong("absolute targets are refused") and b"://" in target:
            raise Refused
        if not self.wrong("targets may be anything"):
            good = target == b"*" if method == b"OPTIONS" else False
            good = good or bool(re.match(rb"/|(?i:https?)://[A-Za-z0-9.:\[]", target))
            if method == b"CONNECT":
                raise Refused(501)
            if not good or b"#" in target or b"@" in target.partition(b"?")[0] or re.search(rb"%(?!\w\w)|%zz", target):
                raise Refused
        return method, target, version

    def field(self, line: bytes) -> tuple[bytes, bytes]:
        if self.wrong("names may end with a space"):
            line = re.sub(rb"^([!-9;-~]+)[ \t]+:", rb"\1:", line)
        if line[:1] in b" \t" and self.wrong("folded lines are fields"):
            line = line.strip()
        name, colon, value = line.partition(b":")
        good = bool(colon and re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name))
        if line[:1] in (b" ", b"\t") or not (good or self.wrong("names may be anything")):
            raise Refused
        if not re.fullmatch(rb"[\t -~\x80-\xff]*", value) and not self.wrong("values may be anything"):
            raise Refused
        if not self.wrong("names in upper case are unknown") or not name.isupper():
            name = name.lower()
        if self.wrong("underscores are dashes"):
            name = name.replace(b"_", b"-")
        return name, value.strip(b" \t")

    def host(self, target: bytes, fields: Fields) -> None:
        hosts = [value for name, value in fields if name.lower() == b"host"]
        if not hosts and not self.old and not self.wrong("no Host is needed"):
            raise Refused
        if len(hosts) > 1 and not self.wrong("Host may be repeated"):
            raise Refused
        if any(not re.fullmatch(rb"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d*)?", host) for host in hosts) and not self.wrong(
            "Host may be anything"
        ):
            raise Refused

    # Framing

    def framing(self, fields: Fields) -> int | None:
        """The length of the content; None if it is chunked."""
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        if codings and lengths and not self.wrong("Content-Length wins") and not self.wrong("Transfer-Encoding wins"):
            raise Refused
        if codings and not (lengths and self.wrong("Content-Length wins")):
            if self.old:
                raise Refused
            known = [coding.lower() for coding in codings] == [b"chunked"]
            if not known and not self.wrong("any coding is chunked") and not self.wrong("unknown codings are ignored"):
                raise Refused(501)
            if known or not self.wrong("unknown codings are ignored"):
                return None
        if not lengths:
            return 0
        if len(lengths) > 1 and not self.wrong("the first length counts") and not self.wrong("the last length counts"):
            raise Refused
        length = lengths[-1 if self.wrong("the last length counts") else 0]
        if self.wrong("lengths are read by int()"):
            try:
                return max(0, int(length.decode("utf-8")))
            except ValueError:
                raise Refused from None
        if self.wrong("lengths end anywhere"):
            return int((re.match(rb"\d{0,18}", length) or [b""])[0] or 0)
        if not re.fullmatch(rb"\d{1,18}", length):
            raise Refused
        return int(length) % 2**32

    async def chunk_line(self) -> bytes:
        if self.wrong("chunk lines may end with LF"):
            return (await self.until(b"\n", MOST_LINE_BYTES, 400)).removesuffix(b"\r")
        line = await self.until(b"\r\n", 2_000_000 if self.wrong("extensions have no limit") else MOST_LINE_BYTES, 400)
        if re.search(rb"[\r\n\0]", line):
            raise Refused
        return line

    def size(self, line: bytes) -> int:
        digits, _, extension = line.partition(b";")
        if self.wrong("chunk extensions are an error") and b";" in line:
            raise Refused
        if self.wrong("sizes are read by int()"):
            try:
                return max(0, int(digits.decode("utf-8"), 16))
            except ValueError:
                raise Refused from None
        if b";" in line and not self.wrong("extensions may be anything"):
            one = rb'[\w!#$%&\'*+.^`|~-]+(=([\w!#$%&\'*+.^`|~-]+|"([^"\\]|\\.)*"))?'
            if not re.fullmatch(one + rb"(;" + one + rb")*", extension):
                raise Refused
        if not re.fullmatch(rb"[0-9A-Fa-f]+", digits):
            raise Refused
        size = int(digits, 16)
        if self.wrong("sizes overflow"):
            return size % 2**32
        if size >= 2**32:
            raise Refused(413)
        return size

    async def chunks(self) -> None:
        while size := self.size(await self.chunk_line()):
            await self.take(size)
            if self.wrong("the end of a chunk is not looked at"):
                await self.take(2)
            elif self.wrong("chunk lines may end with LF"):
                await self.until(b"\n", 1, 400)
            elif await self.take(2) != b"\r\n":
                raise Refused
        while line := await self.chunk_line():
            if self.wrong("trailers are the next request"):
                self.held = line + b"\r\n" + self.held
                return
            if not self.wrong("trailers are not looked at"):
                self.field(line)

    # Answers

    async def send(self, status: int, fields: Sequence[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
        version = b"1.0" if self.old and self.wrong("answers say 1.0 to 1.0") else b"1.1"
        lines = [b"HTTP/%b %d %b" % (version, status, REASONS.get(status, "Judged").encode())]
        date = formatdate(usegmt=True).encode()
        if self.wrong("dates are of RFC 850"):
            date = b"Sunday, 06-Nov-94 08:49:37 GMT"
        if not self.wrong("no Date is sent"):
            lines.append(b"Date: " + date)
        if status == 405 and not self.wrong("405 has no Allow"):
            lines.append(b"%b: %b" % ALLOW)
        if self.close and not self.wrong("close is not announced"):
            lines.append(b"Connection: close")
        lines += [b"%b: %b" % one for one in fields]
        head = self.method == b"HEAD"
        length = len(body) + 1 if self.wrong("HEAD has another length") and head else len(body)
        if status not in (204, 304):
            lines.append(b"Content-Length: %d" % length)
        if (head and not self.wrong("HEAD has content")) or status in (204, 304):
            body = b""
        if status == 304 and self.wrong("304 has content"):
            body = BODY
        await self.stream.send_all(b"\r\n".join([*lines, b"", b""]) + body)

    async def answer(self, target: bytes, fields: Fields) -> None:
        path = re.sub(rb"^\w+://[^/]*", b"", target).partition(b"?")[0] or b"/"
        html = [(b"Content-Type", b"text/html")]
        if self.wrong("decoded targets become fields") and b"%0d%0a" in target.lower():
            return await self.send(301, [(b"Location", target.replace(b"%0d%0a", b"\r\n").replace(b"%20", b" "))])
        if self.method == b"TRACE" and self.wrong("TRACE gives all back"):
            text = b"\r\n".join(b": ".join(one) for one in fields)
            return await self.send(200, [(b"Content-Type", b"message/http")], text)
        if self.method not in KNOWN:
            return await self.send(200 if self.wrong("unknown methods are GET") else 501, html, b"no")
        if self.method == b"OPTIONS":
            return await self.send(204, [ALLOW])
        if self.wrong("anybody may PUT") and self.method == b"PUT":
            MADE.add(path)
            return await self.send(201)
        if path != b"/" and path not in MADE:
            return await self.send(404, html, b"Not here.")
        if self.method in (b"PUT", b"DELETE", b"PATCH", b"TRACE"):
            return await self.send(405, html, b"Not allowed.")
        given = dict(fields)
        page = [*html, (b"ETag", ETAG), (b"Last-Modified", LAST_MODIFIED)]
        if self.method != b"POST":
            status = self.condition(fields)
            if status:
                return await self.send(status, [] if self.wrong("304 has no ETag") else page[1:])
            if b"range" in given and (self.method == b"GET" or self.wrong("HEAD has ranges")):
                return await self.part(given, page)
        return await self.send(200, page, BODY)

    def condition(self, fields: Fields) -> int:
        given: dict[bytes, bytes] = {}
        for name, value in fields:
            given[name] = given[name] + b", " + value if name in given else value
        match, none = given.get(b"if-match"), given.get(b"if-none-match")
        since, unmodified = given.get(b"if-modified-since"), given.get(b"if-unmodified-since")
        tags = re.compile(rb'(?:W/)?"[^"]*"')
        if match is not None and not self.wrong("If-Match is ignored"):
            found = tags.findall(match)
            if self.wrong("If-Match is weak"):
                found = [tag.removeprefix(b"W/") for tag in found]
            if match != b"*" and ETAG not in found:
                return 412
        elif unmodified is not None and (when := self.date(unmodified)) and when < MODIFIED:
            return 412
        if none is not None and not self.wrong("If-None-Match is ignored"):
            weak = [t if self.wrong("If-None-Match is strong") else t.removeprefix(b"W/") for t in tags.findall(none)]
            if none == b"*" or ETAG in weak:
                return 304
            if not self.wrong("both conditions count"):
                return 0
        if since is not None and (when := self.date(since)) and when >= MODIFIED:
            return 304
        return 0

    def date(self, value: bytes) -> datetime | None:
        for form in FORMATS[: 1 if self.wrong("one form of dates is known") else 3]:
            try:
                when = datetime.strptime(value.decode("ascii"), form).replace(tzinfo=UTC)
            except ValueError:
                continue
            ahead = when.year > datetime.now(UTC).year + 50 and "%y" in form
            return when.replace(year=when.year - 100) if ahead else when
        return datetime.now(UTC) if self.wrong("bad dates are now") else None

    async def part(self, given: dict[bytes, bytes], page: Fields) -> None:
        condition = given.get(b"if-range")
        match = re.fullmatch(rb"bytes=(\d*)-(\d*)", given[b"range"])
        if self.wrong("any unit is bytes"):
            match = re.fullmatch(rb"\w+=(\d*)-(\d*)", given[b"range"])
        ignored = condition not in (None, ETAG, LAST_MODIFIED) and not self.wrong("If-Range is ignored")
        if match is None or match[0].endswith(b"=-") or ignored:
            if self.wrong("many ranges are all sent") and given[b"range"].count(b",") > 9:
                return await self.send(206, page, BODY * given[b"range"].count(b","))
            return await self.send(200, page, BODY)
        size = len(BODY)
        if match[1]:
            first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
            if match[2] and int(match[2]) < first:
                return await self.send(200, page, BODY)
        else:
            first, last = max(0, size - int(match[2])), size - 1
        if first >= size:
            status = 206 if self.wrong("no range is out of reach") else 416
            return await self.send(status, [(b"Content-Range", b"bytes */%d" % size)])
        shift = 1 if self.wrong("ranges end one byte early") and last > first else 0
        where = (b"Content-Range", b"bytes %d-%d/%d" % (first, last, size))
        return await self.send(206, [*page, where], BODY[first : last + 1 - shift])

    # The connection

    async def one(self) -> None:
        self.close = True  # as long as nothing else is known
        self.old = self.expects = False
        self.method = b""
        _, target, fields = await self.head()
        length = self.framing(fields)
        options = {one.strip().lower() for name, v in fields if name == b"connection" for one in v.split(b",")}
        if self.wrong("close has to stand alone"):
            options = {v for name, v in fields if name == b"connection"}
        self.close = b"close" in options or (self.old and not self.wrong("1.0 is kept open"))
        if self.wrong("the connection always closes"):
            self.close = True
        expects = any(name == b"expect" and value.lower() == b"100-continue" for name, value in fields)
        if expects and (not self.old or self.wrong("1.0 gets 100")) and (length != 0):
            if self.wrong("Expect is never answered"):
                await self.more_than_nothing(length)
            elif self.wrong("417 leaves the content"):
                await self.send(417)
                return
            else:
                await self.stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = (self.wrong("content of GET is left") and self.method in (b"GET", b"HEAD")) or (
            self.wrong("content of what is missing is left") and b"nothing" in target
        )
        if length is None and not left and not (self.wrong("chunks of DELETE are left") and self.method == b"DELETE"):
            await self.chunks()
        elif length and not left:
            await self.take(length)
        await self.answer(target, fields)

    async def more_than_nothing(self, length: int | None) -> None:
        while len(self.held) < (length or 1):
            await self.more()

    async def talk(self) -> None:
        try:
            while True:
                await self.one()
                if self.close and not self.wrong("requests after close are answered"):
                    return
        except Refused as refused:
            self.close = True
            await self.send(refused.status, [(b"Content-Type", b"text/plain")], b"Refused.")
            if self.wrong("a refusal leaves the connection open"):
                await self.talk()
        except Ended:
            if self.wrong("a cut request is answered") and self.method:
                await self.send(200, [], BODY)
                await self.send(200, [], BODY)


MADE: set[bytes] = set()


async def serve(stream: trio.abc.Stream, faults: frozenset[str]) -> None:
    """Talk to one client until either side ends."""
    try:
        await SmallServer(stream, faults).talk()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        await trio.aclose_forcefully(stream)
