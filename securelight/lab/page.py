"""The pages and lists of the lab: the index, what a case answers, JSON."""

from __future__ import annotations

import html
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from securelight.lab.case import Case, Verdict
from securelight.lab.catalogue import CASES, FAMILIES
from securelight.lab.visit import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.lab.visit import Places, Visit

HTML: Final = ("Content-Type", "text/html; charset=utf-8")
POLICY: Final = ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")

WORDS: Final = {
    Verdict.ACCEPT: "accept",
    Verdict.REFUSE: "refuse",
    Verdict.EITHER: "either",
    Verdict.WARN: "load, and act",
}
"""What a correct client does, in a word or two."""

STYLE: Final = """
:root{color-scheme:light dark;--text:#1c2430;--soft:#5a6675;--line:#dfe4ea;--back:#fff;--raised:#f6f8fa;
--link:#0b57d0;--accept:#0a6b3d;--refuse:#a8201a;--either:#6b4e00;--warn:#5b3aa6}
@media(prefers-color-scheme:dark){:root{--text:#e4e9f0;--soft:#9aa7b6;--line:#2b3440;--back:#11161d;--raised:#19212b;
--link:#8ab4f8;--accept:#5fd39a;--refuse:#ff8f87;--either:#e5bd5c;--warn:#bda2ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:2rem 1.25rem 4rem;background:var(--back);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem;letter-spacing:-.01em}
h2{font-size:1.15rem;margin:2.4rem 0 .5rem}
p{margin:.3rem 0 .8rem;max-width:46rem}.soft{color:var(--soft)}
a{color:var(--link);text-underline-offset:.15em}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--raised);border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem;overflow-x:auto}
nav{display:flex;flex-wrap:wrap;gap:.4rem 1.1rem;margin:1.2rem 0 0}
table{width:100%;border-collapse:collapse;font-size:.94rem}
th{text-align:left;font-weight:600;color:var(--soft);font-size:.8rem}
th,td{padding:.42rem .7rem .42rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td:nth-child(1){width:24%;overflow-wrap:anywhere}td:nth-child(3){width:8.5rem;white-space:nowrap}
td:nth-child(4){width:24%;color:var(--soft);font-size:.86rem}
.v{font-weight:600}.accept{color:var(--accept)}.refuse{color:var(--refuse)}.either{color:var(--either)}
.warn{color:var(--warn)}
.note{display:block;color:var(--soft);font-size:.86rem}
.off{color:var(--soft)}
@media(max-width:44rem){thead{display:none}tr{display:block;padding:.55rem 0;border-bottom:1px solid var(--line)}
td{display:block;border:0;padding:.1rem 0;width:auto!important}}
"""


def _document(title: str, body: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>{body}</body></html>\n"
    ).encode()


def _row(case: Case, places: Places) -> str:
    label = html.escape(case.name)
    offered = case.id in places.case_ports or not case.own_port
    advice = f'<span class="note">{html.escape(case.advice)}</span>' if case.advice else ""
    if case.not_offered or not offered:
        link = f'<span class="off">{label}</span>'
        advice = f'<span class="note">Not offered: {html.escape(case.not_offered)}.</span>'
        verdict = '<td class="off">not offered</td>'
    else:
        link = f'<a href="{html.escape(places.url(case))}">{label}</a>'
        verdict = f'<td class="v {case.verdict}">{WORDS[case.verdict]}</td>'
    shows = f" Show the client certificate “{case.client_certificate}”." if case.client_certificate else ""
    title = html.escape(_sentence(case.title)) + shows
    return f"<tr><td>{link}</td><td>{title}{advice}</td>{verdict}<td>{html.escape(case.reference)}</td></tr>"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def index_page(places: Places) -> Answer:
    """The list of all cases."""
    counts = Counter(case.verdict for case in CASES if not case.not_offered)
    contents = "".join(f'<a href="#{family}">{title}</a>' for family, (title, _) in FAMILIES.items())
    tables = "".join(
        f'<h2 id="{family}">{title}</h2><table><thead><tr><th>Case<th>What it is<th>A correct client<th>Says who'
        f"</thead><tbody>{''.join(_row(case, places) for case in cases)}</tbody></table>"
        for family, (title, cases) in FAMILIES.items()
    )
    body = f"""<h1>TLS lab</h1>
<p>{counts.total()} endpoints, most of them bad on purpose, each in one way. This page itself has good TLS, by the
lab's authority, which signs for <code>localhost</code> and loopback addresses alone.</p>
<p class="soft">A correct client accepts {counts[Verdict.ACCEPT]}, refuses {counts[Verdict.REFUSE]}, loads and acts on
{counts[Verdict.WARN]}; {counts[Verdict.EITHER]} are open to choice. The certificates were made for this run.</p>
<pre><code>securelight lab check curl          # a client that it knows
securelight lab check -- my-client --ca {{ca}} {{url}}</code></pre>
<p><a href="/ca.pem">The authority</a> · <a href="/cases.json">The list as JSON</a></p>
<nav>{contents}</nav>{tables}"""
    return Answer(_document("TLS lab", body), fields=[HTML, POLICY])


def case_page(visit: Visit, index_url: str) -> Answer:
    """What a case answers to a client that got this far."""
    case = visit.case
    assert case is not None
    right = case.verdict is not Verdict.REFUSE
    heading = {
        Verdict.ACCEPT: "Rightly accepted",
        Verdict.REFUSE: "Wrongly accepted",
        Verdict.EITHER: "Accepted",
        Verdict.WARN: "Accepted",
    }[case.verdict]
    shown = f"<p>Client certificate: {html.escape(visit.peer_certificate)}</p>" if visit.peer_certificate else ""
    body = f"""<h1 class="{"accept" if right else "refuse"}">{heading}</h1>
<p><code>{case.id}</code>: {html.escape(_sentence(case.title))}</p>
<p class="soft">A correct client: {WORDS[case.verdict]}. {html.escape(case.reference)}</p>{shown}
<p><a href="{html.escape(index_url)}">All cases</a></p>"""
    return Answer(_document(f"{heading}: {case.id}", body), fields=[HTML, POLICY])


def list_json(cases: Sequence[Case], places: Places | None = None) -> str:
    """The cases for programs; with URLs if the lab runs."""
    entries = []
    for case in cases:
        entry: dict[str, Any] = {
            "id": case.id, "family": case.family, "title": case.title, "expected": str(case.verdict),
            "reference": case.reference, "host": case.host_name, "own_port": case.own_port,
            "offered": not case.not_offered,
        }  # fmt: skip
        if case.not_offered:
            entry["reason"] = case.not_offered
        if case.client_certificate:
            entry["client_certificate"] = case.client_certificate
        if case.advice:
            entry["advice"] = case.advice
        if places is not None and not case.not_offered:
            entry["url"] = places.url(case)
        entries.append(entry)
    return json.dumps({"version": 1, "cases": entries}, indent=2, ensure_ascii=False) + "\n"
