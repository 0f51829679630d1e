"""Writes examples/site/long.html, a page of more than a megabyte: `make serve` and the tests run this.

It is a real table, sunset and sunrise for every day of 2027 and every second degree of latitude, so that there is
something to look at, to compress and to cut into ranges. The same input gives the same bytes.

    python examples/build_long_page.py [FILE]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

TARGET = Path(__file__).parent / "site" / "long.html"
YEAR = 2027
LATITUDES = range(70, -61, -2)
ZENITH = math.radians(90.833)
"""The sun's upper edge on the horizon, refraction included."""

HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Almanac of the dark - Fixed &amp; Flashing</title>
<meta name="description" content="Sunset and sunrise for every day of 2027, from 70 degrees north to 60 degrees south.">
<link rel="icon" href="favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="style.css">
<script src="lights.js" defer></script>
</head>
<body class="almanac">
<header class="masthead">
<a class="wordmark" href="./"><img src="favicon.svg" alt="" width="28" height="28">Fixed &amp; Flashing</a>
<nav aria-label="Pages">
<a href="./">The language</a>
<a href="long.html" aria-current="page">Almanac</a>
<a href="about.html">About</a>
</nav>
</header>
<main>
<h1>Almanac of the dark</h1>
<p class="lead">A light is lit from sunset to sunrise. Here is when that is, on every day of 2027 and at every second
degree of latitude, in local mean time, which knows no zones and no summer.</p>
<p>Each cell has sunset, sunrise and how long the lamp burns. A dot stands for the days on which the sun does not set
or does not rise at all.</p>
"""

FOOT = """\
</main>
<footer class="colophon"><p>Computed, not copied: the declination and the equation of time as short Fourier series.</p>
<p>This page came over <span data-protocol>HTTPS</span>.</p></footer>
</body>
</html>
"""


def sun_times(day: date, latitude: int) -> tuple[int, int] | None:
    """Sunrise and sunset in minutes after midnight, local mean time; None where there is none on that day.

    The equation of time (minutes) and the declination (radians) are Spencer's series of 1971, good to a minute or two.
    """
    angle = 2 * math.pi * (day.timetuple().tm_yday - 0.5) / 365
    equation = 229.18 * (
        0.000075
        + 0.001868 * math.cos(angle)
        - 0.032077 * math.sin(angle)
        - 0.014615 * math.cos(2 * angle)
        - 0.040849 * math.sin(2 * angle)
    )
    declination = (
        0.006918
        - 0.399912 * math.cos(angle)
        + 0.070257 * math.sin(angle)
        - 0.006758 * math.cos(2 * angle)
        + 0.000907 * math.sin(2 * angle)
        - 0.002697 * math.cos(3 * angle)
        + 0.00148 * math.sin(3 * angle)
    )
    north = math.radians(latitude)
    cosine = math.cos(ZENITH) / (math.cos(north) * math.cos(declination)) - math.tan(north) * math.tan(declination)
    if not -1 < cosine < 1:
        return None
    half_day = math.degrees(math.acos(cosine)) * 4
    noon = 720 - equation
    return round(noon - half_day), round(noon + half_day)


def clock(minutes: int) -> str:
    """Minutes after midnight as hh:mm."""
    hours, rest = divmod(minutes % 1440, 60)
    return f"{hours:02}:{rest:02}"


def cell(day: date, latitude: int) -> str:
    """Sunset of `day`, sunrise of the day after, and the time between."""
    today, tomorrow = sun_times(day, latitude), sun_times(day + timedelta(days=1), latitude)
    if today is None or tomorrow is None:
        return "<td>·</td>"
    return f"<td>{clock(today[1])} {clock(tomorrow[0])} <small>{clock(1440 + tomorrow[0] - today[1])}</small></td>"


def name(latitude: int) -> str:
    """A latitude as people say it."""
    return f"{abs(latitude)}° {'north' if latitude > 0 else 'south'}" if latitude else "The equator"


def section(latitude: int) -> Iterator[str]:
    """One latitude: days down, months across."""
    months = "".join(f'<th scope="col">{date(YEAR, month, 1):%b}</th>' for month in range(1, 13))
    yield f'<section class="latitude" id="lat{latitude}"><h2>{name(latitude)}</h2>'
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{name(latitude)}"><table>'
    yield f'<thead><tr><th scope="col">Day</th>{months}</tr></thead><tbody>'
    for number in range(1, 32):
        cells = []
        for month in range(1, 13):
            try:
                cells.append(cell(date(YEAR, month, number), latitude))
            except ValueError:  # there is no such day
                cells.append("<td></td>")
        yield f'<tr><th scope="row">{number}</th>{"".join(cells)}</tr>'
    yield "</tbody></table></div></section>"


def page() -> str:
    """The whole page."""
    jumps = " ".join(f'<a href="#lat{latitude}">{name(latitude)}</a>' for latitude in LATITUDES if latitude % 10 == 0)
    lines = [f'<nav class="jumps" aria-label="Latitudes">{jumps}</nav>']
    for latitude in LATITUDES:
        lines += section(latitude)
    return HEAD + "\n".join(lines) + "\n" + FOOT


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.write_text(page(), encoding="utf-8")
