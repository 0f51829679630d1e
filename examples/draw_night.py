"""Draws examples/site/night.png, the picture at the top of the example site. Run by hand; its result is committed.

Four colours, ordered dithering, and a PNG written with nothing but zlib.

    python examples/draw_night.py [FILE]
"""

from __future__ import annotations

import math
import random
import struct
import sys
import zlib
from pathlib import Path

TARGET = Path(__file__).parent / "site" / "night.png"
WIDTH, HEIGHT = 560, 260
HORIZON = 172
LAMP = (404, 84)
PALETTE = ((9, 15, 28), (25, 45, 74), (74, 111, 150), (246, 221, 166))
BAYER = (
    (0, 32, 8, 40, 2, 34, 10, 42),
    (48, 16, 56, 24, 50, 18, 58, 26),
    (12, 44, 4, 36, 14, 46, 6, 38),
    (60, 28, 52, 20, 62, 30, 54, 22),
    (3, 35, 11, 43, 1, 33, 9, 41),
    (51, 19, 59, 27, 49, 17, 57, 25),
    (15, 47, 7, 39, 13, 45, 5, 37),
    (63, 31, 55, 23, 61, 29, 53, 21),
)


def sky(x: int, y: int) -> float:
    """Brightness from 0 to 2: darker above, with a last band of light at the horizon."""
    glow = math.exp(-(((HORIZON - y) / 34) ** 2)) * (0.75 + 0.45 * math.exp(-(((x - 130) / 150) ** 2)))
    cloud = 0.16 * math.sin(x / 61 + math.sin(y / 9) * 1.4) * math.exp(-(((y - 128) / 16) ** 2))
    return 0.28 + 0.5 * (y / HORIZON) ** 2 + 1.0 * glow + cloud


def sea(x: int, y: int) -> float:
    """The sky's light again, broken by waves that grow towards us."""
    depth = (y - HORIZON) / (HEIGHT - HORIZON)
    wave = math.sin((y - HORIZON) ** 0.62 * 5.1 + 1.3 * math.sin(x / (14 + 60 * depth) + y / 3.7))
    path = math.exp(-(((x - 130) / (44 + 90 * depth)) ** 2))
    return 0.36 - 0.2 * depth + (0.9 - 0.5 * depth) * max(0.0, wave) * (0.25 + path)


def rock_height(x: int) -> float:
    """How far the rock that the tower stands on rises above the horizon at `x`."""
    rise = 26 * math.exp(-(((x - 408) / 52) ** 2)) + 9 * math.exp(-(((x - 470) / 30) ** 2))
    return rise + 2.2 * math.sin(x / 5.3) + 1.4 * math.sin(x / 2.1) - 5


def tower(x: int, y: int) -> float | None:
    """Brightness of the tower at a point, None beside it."""
    middle, lamp = LAMP
    across = abs(x - middle)
    if lamp - 14 <= y < lamp - 6:  # the dome
        return 0.1 if across <= 6.5 * math.sqrt(1 - ((lamp - 6 - y) / 9) ** 2) else None
    if lamp - 6 <= y < lamp + 6:  # the lantern
        return (1.6 if across < 4 else 0.1) if across <= 5 else None
    if lamp + 6 <= y < lamp + 9:  # the gallery
        return 0.1 if across <= 10 else None
    if lamp + 9 <= y < HORIZON - 8:
        half = 6.5 + 5.5 * math.pow((y - lamp - 9) / 80, 1.6)
        if across > half:
            return None
        band = ((y - lamp - 9) // 19) % 2
        side = (x - middle) / half
        return (1.75 if band == 0 else 0.55) * (0.72 - 0.5 * side)
    return None


def brightness(x: int, y: int) -> float:
    """What is at a point, nearest first."""
    built = tower(x, y)
    if built is not None:
        return built
    above = HORIZON - y
    if -6 < above < rock_height(x):
        return 0.12 + 0.1 * math.sin(x / 3 + y)
    return sky(x, y) if y < HORIZON else sea(x, y)


def draw() -> list[bytearray]:
    """One palette index a pixel, row by row."""
    rows = []
    for y in range(HEIGHT):
        row = bytearray(WIDTH)
        for x in range(WIDTH):
            level = brightness(x, y) + (BAYER[y % 8][x % 8] + 0.5) / 64 - 0.5
            row[x] = max(0, min(2, round(level))) if brightness(x, y) < 2 else 3
        rows.append(row)
    chance = random.Random(7)
    for _ in range(150):
        x, y = chance.randrange(WIDTH), int(chance.random() ** 1.6 * (HORIZON - 40))
        if tower(x, y) is None:
            rows[y][x] = 3 if chance.random() < 0.4 else 2
    return rows


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: list[bytearray]) -> bytes:
    """A PNG file with two bits a pixel."""
    packed = b"".join(
        b"\0" + bytes(row[x] << 6 | row[x + 1] << 4 | row[x + 2] << 2 | row[x + 3] for x in range(0, WIDTH, 4))
        for row in rows
    )
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 2, 3, 0, 0, 0)
    colours = b"".join(bytes(colour) for colour in PALETTE)
    parts = (chunk(b"IHDR", header), chunk(b"PLTE", colours), chunk(b"IDAT", zlib.compress(packed, 9)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.write_bytes(png(draw()))
