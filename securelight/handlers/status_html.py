"""The status page: HTML that shows everything as it is now, and a script that keeps it so.

The server renders all of it, so it works without scripts (`noscript` asks the browser to come again); the script only
puts the newest page in the place of the last one. Style and script are files of the same server, and nothing else is
allowed to the page. Texts come from the configuration and from fault counters; all are escaped.
"""

from __future__ import annotations

import hashlib
import html
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from securelight.pipeline.scoreboard import CertificateReport
    from securelight.pipeline.status_report import ServerStatus

STYLE: Final = b"""\
:root{color-scheme:light dark;--text:#1c2330;--soft:#5c677a;--line:#e3e7ee;--back:#f4f6fa;--card:#fff;--accent:#0b57c2;\
--good:#1a7f4b;--warn:#a86200;--bad:#bf2f2f}
@media(prefers-color-scheme:dark){:root{--text:#e3e8f0;--soft:#98a3b5;--line:#2a3342;--back:#0e131a;--card:#161d27;\
--accent:#86b7ff;--good:#5fce94;--warn:#e8b45a;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;padding:1.5rem 1rem 4rem;background:var(--back);color:var(--text);font:1rem/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto}
header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;margin-bottom:1rem}
h1{margin:0;font-size:1.35rem}h2{margin:0 0 .6rem;font-size:1rem}
header span,small{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem}
.card,section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem}
.card b{display:block;font-size:1.5rem;line-height:1.2;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:.85rem}
section{margin-top:.75rem;overflow-x:auto}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:0 .75rem;align-items:start}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th{font-size:.8rem;color:var(--soft);font-weight:600;text-align:left;white-space:nowrap}
td,th{padding:.3rem .5rem .3rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;padding-right:0;padding-left:.75rem;white-space:nowrap}
svg{display:block;width:100%;height:4.5rem}
polyline{fill:none;stroke:var(--accent);stroke-width:1.5;vector-effect:non-scaling-stroke}
polygon{fill:var(--accent);opacity:.15}
@media(max-width:40rem){.wide td:nth-child(2),.wide th:nth-child(2),.wide td:nth-child(4),.wide th:nth-child(4)\
{display:none}}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.none{color:var(--soft);margin:0}
"""
SCRIPT: Final = b"""\
"use strict";
async function renew() {
  try {
    const answer = await fetch(location.pathname, {headers: {accept: "text/html"}, cache: "no-store"});
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
  } catch { }
}
setInterval(() => { if (!document.hidden) renew(); }, 2000);
"""


def _query(kind: bytes, content: bytes) -> bytes:
    return kind + b"=" + hashlib.blake2b(content, digest_size=8).hexdigest().encode()


STYLE_QUERY: Final = _query(b"style", STYLE)
SCRIPT_QUERY: Final = _query(b"script", SCRIPT)
POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'",
)
_DAY_SECONDS = 86_400
_DRAINING = ' <span class="warn">draining</span>'
_WARNING_DAYS = 30
_URGENT_DAYS = 7


def page(status: ServerStatus) -> str:
    """The whole page."""
    counts, workers = status.counts, status.workers
    answers = [(str(code), f"{number:,}") for code, number in sorted(counts.statuses.items())]
    faults = [(_text(what), f"{number:,}") for what, number in sorted(counts.faults.items())]
    upstreams = [_upstream(url, facts) for url, facts in sorted(status.upstreams.items())]
    certificates = [_certificate(one, status.now) for one in status.supervisor.certificates]
    up_for = _duration(status.now - status.supervisor.started) if status.supervisor.started else "-"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        '<meta name="robots" content="noindex"><title>Status</title>'
        f'<link rel="stylesheet" href="?{STYLE_QUERY.decode()}"><script src="?{SCRIPT_QUERY.decode()}" defer></script>'
        '<noscript><meta http-equiv="refresh" content="5"></noscript></head>\n<body><main>'
        f"<header><h1>securelight {_text(status.supervisor.version)}</h1><span>up for {up_for}</span>"
        f"<span>{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(status.now))} UTC</span></header>\n"
        '<div class="cards">'
        + _card(f"{status.requests_per_second:,.0f}", "requests a second")
        + _card(f"{counts.requests:,}", "requests")
        + _card(_size(counts.sent_bytes), "sent")
        + _card(f"{sum(status.connections.values()):,}", _protocols(status.connections))
        + _card(f"{sum(one.streams for one in workers):,}", "requests on their way")
        + _card(_size(sum(one.cache_bytes + one.answer_bytes for one in workers)), _cache(status))
        + "</div>\n"
        + f"<section><h2>Requests in the last minute</h2>{_graph(status.history)}</section>\n"
        + _workers(status)
        + '<div class="pair">'
        + _section("Answers", ("Status", "Requests"), answers)
        + _section("Stopped", ("What", "Times"), faults)
        + _section("Upstreams", ("Server", "Requests", "State"), upstreams)
        + _section("Certificates", ("File", "Ends"), certificates)
        + "</div></main></body></html>\n"
    )


def _text(text: str) -> str:
    return html.escape(text)


def _card(value: str, label: str) -> str:
    return f'<div class="card"><b>{value}</b><span>{label}</span></div>'


def _protocols(connections: dict[str, int]) -> str:
    parts = [f"{number:,} {_text(name or 'opening')}" for name, number in sorted(connections.items()) if number]
    return "connections" + (f": {', '.join(parts)}" if parts else "")


def _cache(status: ServerStatus) -> str:
    entries = sum(one.cache_entries for one in status.workers)
    answers, opened = (sum(getattr(one, what) for one in status.workers) for what in ("answer_entries", "open_files"))
    held = f"{entries:,} files and {answers:,} answers" if answers else f"{entries:,} files"
    return f"cached, {held}, {opened:,} open"


def _workers(status: ServerStatus) -> str:
    rows = [
        (
            f"{one.number} <small>{one.process_id}</small>{_DRAINING if one.draining else ''}",
            _duration(status.now - one.started),
            f"{sum(one.connections.values()):,}",
            f"{one.streams:,}",
            f"{one.counts.requests:,}",
            _size(one.memory_bytes),
        )
        for one in status.workers
    ]
    columns = ("Worker", "Up for", "Connections", "On their way", "Requests", "Memory")
    return f'<div class="wide">{_section("Workers", columns, rows)}</div>'


def _upstream(url: str, facts: tuple[int, int, int]) -> tuple[str, ...]:
    up, workers, load = facts
    state = "up" if up == workers else "down" if not up else f"up for {up} of {workers} workers"
    kind = "good" if up == workers else "bad" if not up else "warn"
    return _text(url), f"{load:,}", f'<span class="{kind}">{state}</span>'


def _certificate(one: CertificateReport, now: float) -> tuple[str, ...]:
    days = int((one.not_after - now) // _DAY_SECONDS)
    kind = "bad" if days < _URGENT_DAYS else "warn" if days < _WARNING_DAYS else "good"
    when = "expired" if days < 0 else f"in {days} days"
    date = time.strftime("%Y-%m-%d", time.gmtime(one.not_after))
    return _text(one.file), f'{date} <span class="{kind}">{when}</span>'


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the cells are HTML."""
    if not rows:
        return f'<section><h2>{title}</h2><p class="none">None.</p></section>\n'
    head = f'<th scope="col">{columns[0]}</th>' + "".join(
        f'<th scope="col" class="n">{one}</th>' for one in columns[1:]
    )
    body = "".join(
        f"<tr><td>{row[0]}</td>" + "".join(f'<td class="n">{cell}</td>' for cell in row[1:]) + "</tr>" for row in rows
    )
    return f"<section><h2>{title}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></section>\n"


def _graph(history: Sequence[int]) -> str:
    """A line of the last seconds."""
    most = max(history, default=0)
    width = max(1, len(history) - 1)
    points = " ".join(
        f"{100 * place / width:.1f},{38 - 36 * number / most if most else 38:.1f}"
        for place, number in enumerate(history)
    )
    return (
        '<svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label="Requests a second">'
        f'<polygon points="0,40 {points} 100,40"/><polyline points="{points}"/></svg>'
        f"<small>at most {most:,} a second</small>"
    )


def _size(count: int) -> str:
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        del units[0]
    return f"{amount:.1f} {units[0]}" if amount < 9.95 and units[0] != "B" else f"{amount:.0f} {units[0]}"


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    days, hours, minutes = whole // _DAY_SECONDS, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
