"""Locks of a WebDAV share: who may change what, and LOCK and UNLOCK (RFC 4918, sections 6, 7, 9.10 and 9.11).

A lock binds whoever does not submit its token; on a share with users, also whoever is another user. Their number is
bounded, in all and for each user or address, and so is their time.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from securelight.handlers import webdav_head, webdav_xml
from securelight.handlers.webdav_store import Lock, Transaction, by_path
from securelight.handlers.webdav_xml import DAV, Element
from securelight.model.errors import Refusal
from securelight.model.response import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from securelight.model.request import Facts, Request

XML_TYPE = (b"content-type", b"application/xml; charset=utf-8")
OWNER_CHARACTERS = 4_096
"""What the taker of a lock may call itself."""
LOCKS_OF_ONE = 64
"""Shared ones that cover the same file: whoever looks at it is told of all of them."""
SUPPORTED = "".join(
    f"<lockentry><lockscope><{scope}/></lockscope><locktype><write/></locktype></lockentry>"
    for scope in ("exclusive", "shared")
)
_NO_STORE = (b"cache-control", b"no-store")


class Denied(Exception):
    """An answer with the name of what was violated (RFC 4918, section 16), thrown to where answers are made."""

    def __init__(self, status: int, precondition: str, hrefs: Iterable[str] = ()) -> None:
        super().__init__(status, precondition)
        inner = "".join(f"<href>{webdav_xml.text(href)}</href>" for href in hrefs)
        content = f"<{precondition}>{inner}</{precondition}>" if inner else f"<{precondition}/>"
        self.response = Response(status, (XML_TYPE, _NO_STORE), webdav_xml.document("error", content))


class Claim:
    """What a request shows of the locks that it knows.

    Args:
        request, facts: its head, and who it is from.
        relative: the path below the root that a request path names; None for what is not in this share.
    """

    def __init__(self, request: Request, facts: Facts, relative: Callable[[str], bytes | None]) -> None:
        value = request.headers.get(b"if")
        self.lists = () if value is None else webdav_head.parse_if(value)
        self.tokens = webdav_head.submitted(self.lists)
        self.user = facts.user or ""
        self.address = facts.client_address
        self._request = request
        self._relative = relative

    def check_if(self, transaction: Transaction, path: bytes, etag: Callable[[bytes], bytes]) -> None:
        """The If field.

        Args:
            path: of the request.
            etag: the entity tag of what is at a path; empty if it has none.

        Errors: Refusal 412.
        """
        if not self.lists:
            return

        def place(target: bytes | None) -> bytes | None:
            if target is None:
                return path
            try:
                return self._relative(webdav_head.target_path(self._request, target))
            except Refusal:
                return None

        def tokens(target: bytes | None) -> frozenset[str]:
            where = place(target)
            return frozenset() if where is None else frozenset(lock.token for lock in transaction.covering(where))

        def etag_of(target: bytes | None) -> bytes:
            where = place(target)
            return b"" if where is None else etag(where)

        if not webdav_head.holds(self.lists, tokens, etag_of):
            raise Refusal(412, "The conditions of the If field do not hold.")

    def permits(
        self,
        transaction: Transaction,
        path: bytes,
        href: Callable[[bytes], str],
        *,
        tree: bool = False,
        member: bool = False,
    ) -> None:
        """Whether the locks let it change what is at `path`.

        Args:
            tree: and all that is below it.
            member: and that the folder it is in has it.

        Errors: Denied 423.
        """
        found = transaction.covering(path)
        if tree:
            found += transaction.inside(path)
        if member and path:
            found += transaction.own(path.rpartition(b"/")[0])
        closed = [
            where
            for where, locks in by_path(found).items()
            if not any(lock.token in self.tokens and lock.user == self.user for lock in locks)
        ]
        if closed:
            raise Denied(423, "lock-token-submitted", [href(where) for where in closed[:16]])


class Locks:
    """LOCK and UNLOCK.

    Args:
        default_seconds, maximum_seconds: how long locks last.
        total, each: how many there may be, and of one user or address.
    """

    def __init__(self, default_seconds: int, maximum_seconds: int, total: int, each: int) -> None:
        self.default_seconds = default_seconds
        self.maximum_seconds = maximum_seconds
        self._total = total
        self._each = each

    def take(
        self, transaction: Transaction, claim: Claim, request: Request, path: bytes, wish: Element,
        href: Callable[[bytes], str],
    ) -> Lock:  # fmt: skip
        """A new lock on `path`.

        Errors: Refusal 400 and 507; Denied 423 for one that is in its way.
        """
        exclusive, owner = _wish(wish)
        deep = webdav_head.depth(request.headers, "infinity", ("0", "infinity")) == "infinity"
        others = transaction.covering(path) + (transaction.inside(path) if deep else [])
        in_the_way = [lock for lock in others if exclusive or lock.exclusive]
        if in_the_way:
            raise Denied(423, "no-conflicting-lock", sorted({href(lock.path) for lock in in_the_way})[:16])
        if len(others) >= LOCKS_OF_ONE:
            raise Refusal(507, "There are too many locks.", f"{len(others)} on {path!r}")
        total, own = transaction.count_locks(claim.user, claim.address)
        if total >= self._total or own >= self._each:
            raise Refusal(507, "There are too many locks.", f"{own} of {claim.user or claim.address}, {total} in all")
        seconds = webdav_head.timeout_seconds(request.headers, self.default_seconds, self.maximum_seconds)
        lock = Lock(
            f"urn:uuid:{uuid.uuid4()}", path, deep, exclusive, owner, claim.user, claim.address, time.time() + seconds
        )
        transaction.add_lock(lock)
        return lock

    def refresh(self, transaction: Transaction, claim: Claim, request: Request, path: bytes) -> Lock:
        """The lock on `path` whose token was submitted, begun anew.

        Errors: Refusal 400 and 412.
        """
        if not claim.tokens:
            raise Refusal(400, "A lock is taken with a body, or refreshed with an If field.")
        for lock in transaction.covering(path):
            if lock.token in claim.tokens and lock.user == claim.user:
                seconds = webdav_head.timeout_seconds(request.headers, self.default_seconds, self.maximum_seconds)
                expires = time.time() + seconds
                transaction.refresh_lock(lock.token, expires)
                return lock._replace(expires=expires)
        raise Refusal(412, "There is no such lock.")

    def give_back(self, transaction: Transaction, claim: Claim, request: Request, path: bytes) -> None:
        """UNLOCK.

        Errors: Refusal 400 and 403; Denied 409.
        """
        token = webdav_head.lock_token(request.headers)
        for lock in transaction.covering(path):
            if lock.token == token:
                if lock.user != claim.user:
                    raise Refusal(403, "It is somebody else's lock.")
                transaction.remove_lock(token)
                return
        raise Denied(409, "lock-token-matches-request-uri")


def _wish(wish: Element) -> tuple[bool, str]:
    scope, kind = wish.find("lockscope"), wish.find("locktype")
    if wish.name != (DAV, "lockinfo") or scope is None or kind is None or kind.find("write") is None:
        raise Refusal(400, "The body does not say what lock is wanted.")
    exclusive = scope.find("exclusive") is not None
    if exclusive == (scope.find("shared") is not None):
        raise Refusal(400, "A lock is either exclusive or shared.")
    owner = wish.find("owner")
    written = "" if owner is None else webdav_xml.write(owner)
    if len(written) > OWNER_CHARACTERS:
        raise Refusal(400, f"The owner of a lock may have {OWNER_CHARACTERS} characters.")
    return exclusive, written


def discovery(locks: Iterable[Lock], href: Callable[[bytes], str]) -> str:
    """The content of DAV:lockdiscovery. The tokens in it are no secret (RFC 4918, section 6.4)."""
    now = time.time()
    return "".join(
        "<activelock>"
        f"<locktype><write/></locktype><lockscope><{'exclusive' if lock.exclusive else 'shared'}/></lockscope>"
        f"<depth>{'infinity' if lock.deep else '0'}</depth>{lock.owner}"
        f"<timeout>Second-{max(1, round(lock.expires - now))}</timeout>"
        f"<locktoken><href>{webdav_xml.text(lock.token)}</href></locktoken>"
        f"<lockroot><href>{webdav_xml.text(href(lock.path))}</href></lockroot></activelock>"
        for lock in locks
    )


def lock_answer(lock: Lock, href: Callable[[bytes], str], *, status: int, is_new: bool) -> Response:
    """The answer to a LOCK that was granted."""
    body = webdav_xml.document("prop", f"<lockdiscovery>{discovery((lock,), href)}</lockdiscovery>")
    fields = ((b"lock-token", b"<%b>" % lock.token.encode()),) if is_new else ()
    return Response(status, (XML_TYPE, _NO_STORE, *fields), body)
