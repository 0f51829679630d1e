"""The page of a directory: HTML without scripts, its icons in itself, its style from the same server.

Nothing in it needs an exception from a strict Content-Security-Policy: no inline style, no inline script. Names are the
work of whoever may upload: in HTML they are escaped, their control and direction characters made visible; in links they
are percent-encoded and begin with `./`, so that no name is a scheme or a host.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from securelight.files.directory_entries import Entry, SortKey

STYLE: Final = b"""\
:root{color-scheme:light dark;--text:#1c2330;--soft:#5c677a;--line:#e3e7ee;--back:#fbfcfe;--over:#eef3fb;\
--link:#0b57c2;--folder:#d9962b;--file:#8a96a8}
@media(prefers-color-scheme:dark){:root{--text:#e3e8f0;--soft:#98a3b5;--line:#2a3342;--back:#12171f;--over:#1c2532;\
--link:#86b7ff;--folder:#e5b35c;--file:#75819a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:64rem;background:var(--back);color:var(--text);\
font:1rem/1.5 system-ui,sans-serif}
h1{margin:0 0 1rem;font-size:1.35rem;font-weight:600;overflow-wrap:anywhere}
h1 a{color:var(--text)}h1 i{font-style:normal;color:var(--soft);margin:0 .3em}
a{color:var(--link);text-decoration:none}a:hover,a:focus-visible{text-decoration:underline}
table{width:100%;border-collapse:collapse}
th{padding:.4rem .6rem;text-align:left;font-size:.85rem;font-weight:600;border-bottom:2px solid var(--line);\
white-space:nowrap}
th a{color:var(--soft)}th[aria-sort] a{color:var(--text)}
td{padding:.4rem .6rem;border-bottom:1px solid var(--line)}
tbody tr:hover{background:var(--over)}
td:first-child{width:100%;overflow-wrap:anywhere}
td:first-child a{display:flex;gap:.65rem;align-items:flex-start}
td+td,th+th{text-align:right;white-space:nowrap;color:var(--soft);font-variant-numeric:tabular-nums}
svg{flex:none;width:1.25rem;height:1.25rem;margin-top:.125rem;fill:var(--file)}svg.d,svg.u{fill:var(--folder)}
.sprite{display:none}
footer,.cut{margin-top:1rem;color:var(--soft);font-size:.9rem}
.text{margin:0 0 1.5rem;padding:1rem 1.25rem;border:1px solid var(--line);border-radius:.5rem;overflow-x:auto}
pre.text{font:.9rem/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
table+.text{margin-top:1.5rem}
@media(max-width:40rem){body{padding:1rem .5rem 3rem}h1{padding:0 .6rem}td:nth-child(3),th:nth-child(3){display:none}}
"""
STYLE_QUERY: Final = b"style=" + hashlib.blake2b(STYLE, digest_size=8).hexdigest().encode()
"""What is asked for on any directory to get the style; changes with it, so that it may be kept for ever."""

POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'self'",
)
"""What the page needs, and nothing else: not even a header file of the operator can run a script."""

_ICONS = (
    '<svg class="sprite" aria-hidden="true">'
    '<symbol id="d" viewBox="0 0 24 24"><path d="M3 5.5A1.5 1.5 0 0 1 4.5 4h5l2 2.5h8A1.5 1.5 0 0 1 21 8v10.5a1.5 1.5 '
    '0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 18.5z"/></symbol>'
    '<symbol id="u" viewBox="0 0 24 24"><path d="M11 20v-9.2l-3.6 3.6L6 13l6-6 6 6-1.4 1.4-3.6-3.6V20zM5 3h14v2H5z"/>'
    "</symbol>"
    '<symbol id="f" viewBox="0 0 24 24"><path d="M6 2h8l5 5v13.5a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 5 20.5v-17'
    'A1.5 1.5 0 0 1 6 2zm7 1.5V8h4.5z"/></symbol>'
    '<symbol id="t" viewBox="0 0 24 24"><path fill-rule="evenodd" d="M6 2h8l5 5v13.5a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 '
    '1.5 0 0 1 5 20.5v-17A1.5 1.5 0 0 1 6 2zm7 1.5V8h4.5zM8 11h8v1.5H8zm0 3h8v1.5H8zm0 3h5v1.5H8z"/></symbol>'
    '<symbol id="p" viewBox="0 0 24 24"><path fill-rule="evenodd" d="M4.500 4h15A1.500 1.500 0 0 1 21 5.500v13a1.500 '
    "1.500 0 0 1-1.500 1.500h-15A1.500 1.500 0 0 1 3 18.500v-13A1.500 1.500 0 0 1 4.500 4zm.5 13h14l-4.500-6-3.500 "
    '4.500-2-2.500zM8.500 7a1.750 1.750 0 1 0 0 3.500 1.750 1.750 0 0 0 0-3.500z"/></symbol>'
    '<symbol id="m" viewBox="0 0 24 24"><path fill-rule="evenodd" d="M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zm-2 5.500v7l6-'
    '3.500z"/></symbol>'
    '<symbol id="z" viewBox="0 0 24 24"><path fill-rule="evenodd" d="M4 4h16v5h-1v11H5V9H4zm6 7v2h4v-2z"/></symbol>'
    "</svg>"
)
_EXTENSIONS: Final = (
    ("p", "png jpg jpeg gif webp avif svg ico bmp tif tiff heic jxl"),
    ("m", "mp3 ogg oga flac wav m4a opus aac mp4 m4v webm mkv mov avi ogv mpg mpeg"),
    ("z", "zip gz tgz xz bz2 zst br 7z tar rar deb rpm jar whl iso img"),
    ("t", "txt md html htm css js json xml csv log py rs go c h sh toml yaml yml ini conf pdf rst tex odt doc docx"),
)
_ICON_OF: Final = {extension: icon for icon, extensions in _EXTENSIONS for extension in extensions.split()}
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Control characters, and those that turn or hide the text around them."""
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_COLUMNS: Final[tuple[tuple[SortKey, str], ...]] = (("name", "Name"), ("size", "Size"), ("time", "Changed (UTC)"))


def shown(name: bytes) -> str:
    """A name as it is shown in HTML: escaped, with what cannot be seen as a replacement character."""
    return html.escape(_UNSEEN.sub("\ufffd", name.decode("utf-8", "replace")))


def size_text(count: int) -> str:
    """A size for people, in decimal units."""
    if count < 1000:
        return f"{count} B"
    amount, number = float(count), 0
    while amount >= 999.5 and number < len(_UNITS) - 1:
        amount /= 1000
        number += 1
    return f"{amount:.1f} {_UNITS[number]}" if amount < 9.95 else f"{amount:.0f} {_UNITS[number]}"


def _time_text(seconds: int, form: str = "%Y-%m-%d %H:%M") -> str:
    try:
        return time.strftime(form, time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "-"


def head(path: bytes, depth: int, by: SortKey, *, descending: bool, above: str) -> str:
    """The page up to the first row.

    Args:
        path: of the directory, as in the address bar, decoded; with slashes at both ends.
        depth: how many of its segments lie below the route, and so have a page like this.
        by, descending: the order that it is in.
        above: HTML to stand before the table.
    """
    segments = path.strip(b"/").split(b"/") if path.strip(b"/") else []
    crumbs = []
    for number, segment in enumerate((b"", *segments)):
        up = len(segments) - number
        label = shown(segment) if segment else "Home"
        crumbs.append(f'<a href="{"../" * up or "./"}">{label}</a>' if up <= depth else f"<span>{label}</span>")
    columns = []
    for key, label in _COLUMNS:
        chosen = key == by
        order = "asc" if (descending if chosen else key == "name") else "desc"
        mark = (" \u2193" if descending else " \u2191") if chosen else ""
        sorted_as = f' aria-sort="{"descending" if descending else "ascending"}"' if chosen else ""
        columns.append(f'<th scope="col"{sorted_as}><a href="?sort={key}&amp;order={order}">{label}{mark}</a></th>')
    parent = (
        '<tr><td><a href="../"><svg class="u" aria-hidden="true"><use href="#u"/></svg><span>Parent folder</span></a>'
        "</td><td></td><td></td></tr>\n"
        if depth
        else ""
    )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        f'<title>Index of {shown(path)}</title><link rel="stylesheet" href="?{STYLE_QUERY.decode()}"></head>\n'
        f"<body>{_ICONS}<h1>{'<i>/</i>'.join(crumbs)}</h1>\n{above}"
        f"<table><thead><tr>{''.join(columns)}</tr></thead><tbody>\n{parent}"
    )


def rows(entries: Sequence[Entry]) -> str:
    """Rows of the table."""
    return "".join(map(_row, entries))


def _row(entry: Entry) -> str:
    label = shown(entry.name)
    link = quote_from_bytes(entry.name, safe="")
    changed = _time_text(entry.modified_seconds)
    if entry.is_directory:
        return (
            f'<tr><td><a href="./{link}/"><svg class="d" aria-hidden="true"><use href="#d"/></svg>'
            f"<bdi>{label}/</bdi></a></td><td></td><td>{changed}</td></tr>\n"
        )
    icon = _ICON_OF.get(label.rpartition(".")[2].lower(), "f")
    return (
        f'<tr><td><a href="./{link}"><svg aria-hidden="true"><use href="#{icon}"/></svg>'
        f"<bdi>{label}</bdi></a></td><td>{size_text(entry.size)}</td><td>{changed}</td></tr>\n"
    )


def tail(directories: int, files: int, size: int, *, cut: bool, below: str) -> str:
    """The page after the last row; `cut` if there are more entries than are shown, `below` is HTML."""
    more = '<p class="cut">There are more; only these are shown.</p>' if cut else ""
    return (
        f"</tbody></table>\n{more}{below}"
        f"<footer>{_count(directories, 'folder')}, {_count(files, 'file')}, {size_text(size)}</footer></body></html>\n"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def text_block(content: bytes, *, is_html: bool) -> str:
    """The content of a header or readme file: as it is, or as text."""
    if is_html:
        return f'<div class="text">{content.decode("utf-8", "replace")}</div>\n'
    return f'<pre class="text">{html.escape(content.decode("utf-8", "replace"))}</pre>\n'


def json_rows(entries: Sequence[Entry], *, first: bool) -> Iterator[str]:
    """Members of the JSON array, each on a line, with the comma before it; `first` if they begin the array."""
    for entry in entries:
        values: dict[str, object] = {
            "name": entry.name.decode("utf-8", "replace"),
            "href": quote_from_bytes(entry.name, safe="") + ("/" if entry.is_directory else ""),
            "type": "directory" if entry.is_directory else "file",
            "modified": _time_text(entry.modified_seconds, "%Y-%m-%dT%H:%M:%SZ"),
        }
        if not entry.is_directory:
            values["size"] = entry.size
        yield ("\n" if first else ",\n") + json.dumps(values)
        first = False
