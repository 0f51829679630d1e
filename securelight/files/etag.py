"""Entity tags (RFC 9110, section 8.8.3): how a file's is made, and how lists of them are compared.

A tag is a digest of inode, size and modification time in nanoseconds: strong, and the inode itself is not told.
"""

from __future__ import annotations

import hashlib
import re

_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rb"[ \t,]*" + _TAG + rb"(?:[ \t]*,[ \t,]*" + _TAG + rb")*[ \t,]*")
_MEMBER = re.compile(_TAG)


def file_etag(inode: int, size: int, modified_ns: int) -> bytes:
    """The strong entity tag of a file in that state, quotes included."""
    digest = hashlib.blake2b(f"{inode:x}-{size:x}-{modified_ns:x}".encode(), digest_size=12)
    return b'"' + digest.hexdigest().encode() + b'"'


def is_listed(value: bytes, etag: bytes, *, weak: bool) -> bool:
    """Whether the strong `etag` is among those of an If-Match or If-None-Match field.

    Args:
        value: the field's value: `*`, or a list of tags. A malformed list holds nothing.
        etag: what the resource has now.
        weak: compare weakly (If-None-Match) instead of strongly (If-Match), RFC 9110, section 8.8.3.2.
    """
    if value in (etag, b"*"):
        return True
    if etag not in value or not _LIST.fullmatch(value):
        return False
    tags = _MEMBER.findall(value)
    return etag in tags or (weak and b"W/" + etag in tags)
