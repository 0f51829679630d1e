"""Draw what a command printed on a terminal as an SVG picture.

`script -qc "make serve" /dev/null | python docs/draw_terminal.py "make serve" > docs/terminal.svg`

Reads the output, with its colours, from standard input, and writes the picture to standard output. Knows what our
commands use: bold, dim, green, reset.
"""

from __future__ import annotations

import html
import re
import sys

FONT_PIXELS = 13
COLUMN_PIXELS = 7.82
LINE_PIXELS = 19
MARGIN_PIXELS = 20
WIDEST_COLUMNS = 132

_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_OTHER_ESCAPES = re.compile(r"\x1b\[[?0-9;]*[A-Za-ln-z]|\r|\x04|\x08|\^D")
_CLASSES = {"1": "bold", "2": "dim", "32": "green"}


def draw(output: str, command: str) -> str:
    """The picture of `command` and its `output`."""
    prompt = f"\x1b[2m$\x1b[0m \x1b[1m{command}\x1b[0m"
    lines = [line for whole in [prompt, *output.splitlines()] for line in _wrapped(whole)]
    width = MARGIN_PIXELS * 2 + WIDEST_COLUMNS * COLUMN_PIXELS
    height = MARGIN_PIXELS * 2 + LINE_PIXELS * len(lines)
    rows = "\n".join(
        f'<text x="{MARGIN_PIXELS}" y="{MARGIN_PIXELS + LINE_PIXELS * number + FONT_PIXELS}">{_spans(line)}</text>'
        for number, line in enumerate(lines)
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">
<title>{html.escape(command)}</title>
<style>
rect {{ fill: #14181f }}
text {{ font: {FONT_PIXELS}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }}
text {{ fill: #d6dbe4; white-space: pre }}
.bold {{ font-weight: 700; fill: #ffffff }} .dim {{ fill: #8691a5 }} .green {{ fill: #7bd88f; font-weight: 700 }}
</style>
<rect width="100%" height="100%" rx="10"/>
{rows}
</svg>
"""


def _wrapped(line: str) -> list[str]:
    """Long lines, which have no colour in our output, break as on a terminal of WIDEST_COLUMNS."""
    if len(_SGR.sub("", line)) <= WIDEST_COLUMNS:
        return [line]
    return [line[start : start + WIDEST_COLUMNS] for start in range(0, len(line), WIDEST_COLUMNS)]


def _spans(line: str) -> str:
    parts, classes, position = [], set[str](), 0
    for match in [*_SGR.finditer(line), None]:
        text = html.escape(line[position : match.start() if match else None])
        names = " ".join(sorted(classes))
        parts.append(f'<tspan class="{names}">{text}</tspan>' if names and text else text)
        if match:
            position = match.end()
            for code in match[1].split(";"):
                classes = classes | {_CLASSES[code]} if code in _CLASSES else set()
    return "".join(parts)


if __name__ == "__main__":
    printed = _OTHER_ESCAPES.sub("", sys.stdin.read()).strip("\n")
    sys.stdout.write(draw("\n" + printed, sys.argv[1] if len(sys.argv) > 1 else "securelight serve"))
