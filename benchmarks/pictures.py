"""Results as SVG: bars with the spread for each group of workloads, and cost curves. No library is needed for that.

The files stand on a transparent ground and take their colours from the reader's choice of light or dark.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks.report import GROUPS
from benchmarks.rounds import Metric, Result

WIDTH, LABEL, RIGHT, BAR, GAP = 760, 150, 90, 16, 6
CURVE_HEIGHT, CURVE_TOP, CURVE_LEFT = 300, 40, 70
OURS = "securelight"
PALETTE = ("#1b7f5c", "#c2571a", "#3567b5", "#8a3fa0", "#a58a00", "#5d6b75", "#b3355e", "#2c98a0")
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #1d2429 } .title { font-weight: 600; font-size: 13px }
.bar { fill: #9aa7b0 } .ours { fill: #1b7f5c } .rule { stroke: #1d2429; stroke-opacity: .25 }
.spread { stroke: #1d2429; stroke-width: 1.5 } .number { font-variant-numeric: tabular-nums }
@media (prefers-color-scheme: dark) {
 text { fill: #e4e9ec } .bar { fill: #66727b } .ours { fill: #35b588 } .rule, .spread { stroke: #e4e9ec } }
</style>"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One server in one panel: median, least and most."""

    server: str
    median: float
    least: float
    most: float


def bars(result: Result, metric: Metric) -> tuple[str, list[Bar]]:
    """What a panel shows, and how it is called: ratios to the first baseline that has figures, else the figures."""
    by_server = result.figures.get(metric.name, {})
    baseline = next((name for name in result.workload.baselines if all(by_server.get(name, [0]))), "")
    found = []
    for server, figures in by_server.items():
        values = result.ratios(metric.name, server, baseline) if baseline else figures
        found.append(Bar(server, statistics.median(values), min(values), max(values)))
    title = f"{result.workload.name}: {metric.unit}"
    return (f"{title}, {baseline} = 1" if baseline else title), found


def svg(width: int, height: int, title: str, content: Sequence[str]) -> str:
    """A whole file."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="{escape(title)}">',
            STYLE,
            *content,
            "</svg>\n",
        ]
    )


def panel(title: str, shown: Sequence[Bar], top: int, less_is_better: bool) -> tuple[list[str], int]:
    """Horizontal bars below a title; returns them and where the next panel begins."""
    most = max((bar.most for bar in shown), default=0) or 1
    scale = (WIDTH - LABEL - RIGHT) / most
    arrow = " (less is better)" if less_is_better else ""
    lines = [f'<text class="title" x="0" y="{top + 12}">{escape(title + arrow)}</text>']
    y = top + 22
    for bar in shown:
        kind = "ours" if bar.server.startswith(OURS) else "bar"
        middle = y + BAR / 2
        left, right = LABEL + bar.least * scale, LABEL + bar.most * scale
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(bar.server)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{bar.median * scale:.1f}" height="{BAR}"/>',
            f'<path class="spread" d="M{left:.1f} {middle}H{right:.1f}'
            f'M{left:.1f} {middle - 4}v8M{right:.1f} {middle - 4}v8"/>',
            f'<text class="number" x="{right + 8:.1f}" y="{y + 12}">{number(bar.median)}</text>',
        ]
        y += BAR + GAP
    return lines, y + 14


def number(value: float) -> str:
    """Three figures, as people write them."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if abs(value) < 100 else f"{value:,.0f}"


def group_picture(group: int, results: Sequence[Result]) -> str:
    """All workloads of a group, one panel below the other."""
    lines, top = [], 4
    for result in results:
        for metric in result.workload.metrics:
            title, shown = bars(result, metric)
            if shown:
                more, top = panel(title, shown, top, not metric.more_is_better)
                lines += more
    return svg(WIDTH, top, GROUPS[group], lines)


def curve_picture(name: str, metric: Metric, results: Sequence[Result]) -> str:
    """Figure against size, a line for each server; the axis of sizes is logarithmic. The figures are of one run, but
    taken one after the other: the lines of different servers can be compared, less so the points of one line.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for result in results:
        for server in result.figures.get(metric.name, {}):
            points.setdefault(server, []).append((result.workload.at, result.median(metric.name, server)))
    sizes = sorted({result.workload.at for result in results})
    highest = max((value for line in points.values() for _, value in line), default=0) or 1
    inner, bottom = WIDTH - CURVE_LEFT - LABEL, CURVE_HEIGHT - CURVE_TOP
    widest = math.log10(max(sizes[-1], 10))

    def place(size: int, value: float) -> tuple[float, float]:
        return CURVE_LEFT + inner * math.log10(size) / widest, bottom - (bottom - CURVE_TOP) * value / highest

    lines = [f'<text class="title" x="0" y="16">{escape(metric.unit)} against {escape(name)}</text>']
    for size in sizes:
        x, _ = place(size, 0)
        lines.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{size:,}</text>')
        lines.append(f'<path class="rule" d="M{x:.1f} {bottom}V{CURVE_TOP}"/>')
    for share in (0, 0.5, 1):
        _, y = place(1, highest * share)
        lines.append(
            f'<text class="number" x="{CURVE_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{number(highest * share)}</text>"
        )
        lines.append(f'<path class="rule" d="M{CURVE_LEFT} {y:.1f}H{CURVE_LEFT + inner}"/>')
    ends: list[float] = []
    for colour, (server, line) in zip(PALETTE * 2, points.items(), strict=False):
        places = [place(*point) for point in sorted(line)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        lines.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        x, y = places[-1]
        while any(abs(y - other) < 13 for other in ends):
            y += 13  # names do not lie on each other
        ends.append(y)
        lines.append(f'<text x="{x + 10:.1f}" y="{y + 4:.1f}" style="fill:{colour}">{escape(server)}</text>')
    return svg(WIDTH, CURVE_HEIGHT, f"{metric.unit} against {name}", lines)


def draw(results: Sequence[Result], folder: Path) -> list[str]:
    """Write all pictures into `folder`; returns their names."""
    written = {}
    for group in sorted({result.workload.group for result in results}):
        here = [result for result in results if result.workload.group == group]
        if any(result.servers() for result in here):
            written[f"group-{group:02}.svg"] = group_picture(group, here)
        for curve in dict.fromkeys(result.workload.curve for result in here if result.workload.curve):
            along = [result for result in here if result.workload.curve == curve]
            for metric in along[0].workload.metrics:
                if sum(bool(result.figures.get(metric.name)) for result in along) > 1:
                    written[f"group-{group:02}-{curve}-{metric.name}.svg"] = curve_picture(curve, metric, along)
    for name, content in written.items():
        (folder / name).write_text(content)
    return list(written)
